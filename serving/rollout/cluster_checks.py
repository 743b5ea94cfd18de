"""What the pods of a cluster answer, pod by pod, against what the files say."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.experiments.config import ExperimentsConfig, ExperimentsError, parse
from api.settings import Settings, split_names
from serving.rollout import models_config
from serving.rollout.client import AVAILABLE, ModelServer, ServerError
from serving.rollout.cluster import Cluster, ClusterError

Labels = Sequence[tuple[str, str, int]]
"""Model, label, version."""

MODEL_SERVER_PORT = 8500
GATEWAY_PORT = 8000


def labels_of(config_map: Mapping[str, str], source: Path) -> Labels:
    """Every label in a ConfigMap's models.config. source: for messages. Raises ConfigError."""
    proto = models_config.parse(config_map["models.config"], source / "models.config")
    return [
        (entry.name, label, version)
        for entry in proto.model_config_list.config
        for label, version in sorted(entry.version_labels.items())
    ]


def read_experiments(cluster: Cluster) -> ExperimentsConfig:
    """experiments.yaml of the overlay, as its gateways would read it. Raises ClusterError."""
    named = cluster.environment("gateway").get("EMOTION_MODELS")
    models = split_names(named) if named else Settings.model_fields["models"].default
    content = cluster.config_map("experiments")["experiments.yaml"]
    try:
        return parse(content.encode(), cluster.overlay / "experiments.yaml", models)
    except ExperimentsError as error:
        raise ClusterError(str(error)) from error


def require_targets(cluster: Cluster, experiments: ExperimentsConfig) -> None:
    """Raises ClusterError unless every model server answers what variants and shadows ask for."""
    now = datetime.now(UTC)
    ahead = [one for one in experiments.experiments if one.state(now) != "ended"]
    choices = [choice for one in ahead for choice in (*one.variants, *one.shadow)]
    for pod in cluster.pods("serving"):
        with _model_server(cluster, pod) as server:
            for choice in choices:
                try:
                    server.answering_version(choice.model, version=choice.version, label=choice.label)
                except ServerError as error:
                    target = f"{choice.model} {choice.label or f'version {choice.version}'}"
                    raise ClusterError(
                        f"experiments.yaml: {choice.name}: pod {pod} does not answer {target};"
                        " roll out an image that has it before the experiment"
                    ) from error


def versions_loaded(cluster: Cluster, name: str, version: int) -> set[int]:
    """Versions that are AVAILABLE on every pod. Raises ClusterError unless `version` is one of them, and answers."""
    loaded: list[set[int]] = []
    for pod in cluster.pods("serving"):
        with _model_server(cluster, pod) as server:
            states = server.states(name)
            loaded.append({number for number, found in states.items() if found.state == AVAILABLE})
            if version not in loaded[-1]:
                there = ", ".join(f"{number} {state}" for number, state in sorted(states.items()))
                raise ClusterError(
                    f"pod {pod} has not loaded {name} version {version} (it has {there}): roll out an image that has it"
                )
            # Some broken versions load, and fail at the first request.
            server.answering_version(name, version=version)
    if not loaded:
        raise ClusterError(f"no model server runs in namespace {cluster.namespace}")
    return set.intersection(*loaded)


def wrong_labels(cluster: Cluster, pod: str, labels: Labels) -> str:
    """Why a model server does not answer the labels as it should; empty when it does."""
    with _model_server(cluster, pod) as server:
        for name, label, version in labels:
            answered = server.answering_version(name, label=label)
            if answered != version:
                return f"pod {pod}: {name} {label} answers with version {answered}, not {version}"
    return ""


def wrong_experiments(cluster: Cluster, pod: str, experiments: ExperimentsConfig, key: str) -> str:
    """Why a gateway does not run these experiments; empty when it does."""
    with cluster.forward(pod, GATEWAY_PORT) as address:
        request = urllib.request.Request(f"http://{address}/experiments", headers={"X-Admin-Key": key})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return f"pod {pod}: {json.load(error)['detail']}"
        except OSError as error:
            return f"pod {pod}: {error}"
    if answer["error"]:
        return f"pod {pod}: {answer['error']}"
    wanted = experiments.model_dump(mode="json")["experiments"]
    taken_up = _essence(answer["experiments"]) == _essence(wanted)
    return "" if taken_up else f"pod {pod}: an earlier experiments.yaml is in use"


def _essence(experiments: Sequence[Mapping[str, Any]]) -> list[Any]:
    target = ("name", "model", "version", "label")
    return [
        [
            [one[key] for key in ("name", "start", "end", "control")],
            [[choice[key] for key in (*target, "weight")] for choice in one["variants"]],
            [[choice[key] for key in (*target, "share")] for choice in one["shadow"]],
        ]
        for one in experiments
    ]


@contextmanager
def _model_server(cluster: Cluster, pod: str) -> Iterator[ModelServer]:
    with cluster.forward(pod, MODEL_SERVER_PORT) as address, ModelServer(address) as server:
        try:
            yield server
        except ServerError as error:
            # The address is a forwarded port's, which tells nobody which pod it is.
            raise ClusterError(f"pod {pod}: {str(error).removeprefix(f'{address}: ')}") from error
