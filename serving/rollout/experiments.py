"""experiments.yaml in a cluster: is it valid, do the model servers have what it asks for, do the gateways run it?"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from serving.errors import ServingError
from serving.rollout.kubectl import Cluster
from wire.target import Target

GATEWAY_PORT = 8000

Experiments = Sequence[Mapping[str, Any]]  # the entries of experiments.yaml, with what it leaves out filled in


def read(cluster: Cluster) -> Experiments:
    """experiments.yaml of the overlay, checked by the gateway's own program, because the gateways will read it.

    Raises:
        ServingError: a gateway would refuse it.
    """
    containers = cluster.find("Deployment", "gateway")["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value", "") for one in containers for entry in one.get("env", ())}
    # Constant words, no shell.
    done = subprocess.run(  # nosec B603
        [sys.executable, "-m", "api.experiments"],
        input=cluster.config_map("experiments")["experiments.yaml"],
        env=os.environ | {"EMOTION_MODELS": environment.get("EMOTION_MODELS", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServingError(f"{cluster.overlay}: {done.stderr.strip()}")
    experiments: Experiments = json.loads(done.stdout)["experiments"]
    return experiments


def require_targets(cluster: Cluster, experiments: Experiments) -> None:
    """Every model server answers what variants and shadows ask for.

    Raises:
        ServingError: one does not.
    """
    now = datetime.now(UTC)
    ahead = [one for one in experiments if one["end"] is None or datetime.fromisoformat(one["end"]) > now]
    choices = [choice for one in ahead for choice in (*one["variants"], *one["shadow"])]
    for pod in cluster.pods("serving"):
        with cluster.model_server(pod) as server:
            for choice in choices:
                model, version, label = (choice[key] for key in ("model", "version", "label"))
                try:
                    server.answering_version(Target(model, version, label))
                except ServingError as error:
                    raise ServingError(
                        f"experiments.yaml: {choice['name']}: pod {pod} does not answer"
                        f" {model} {label or f'version {version}'}; roll out an image that has it before the experiment"
                    ) from error


def require_in_use(cluster: Cluster, experiments: Experiments, admin_key: str, pod: str) -> None:
    """A gateway runs these experiments.

    Raises:
        ServingError: it does not, or does not say so.
    """
    with cluster.forward(pod, GATEWAY_PORT) as address:
        request = urllib.request.Request(f"http://{address}/v1/experiments", headers={"X-Admin-Key": admin_key})
        # The port is forwarded to this machine, which no proxy is in front of.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ServingError(f"pod {pod}: {json.load(error)['detail']}") from error
        except OSError as error:
            raise ServingError(f"pod {pod}: {error}") from error
    if answer["error"]:
        raise ServingError(f"pod {pod}: {answer['error']}")
    if _essence(answer["experiments"]) != _essence(experiments):
        raise ServingError(f"pod {pod}: an earlier experiments.yaml is in use")


def _essence(experiments: Experiments) -> list[Any]:
    target = ("name", "model", "version", "label")
    return [
        [
            [one[key] for key in ("name", "start", "end", "control")],
            [[choice[key] for key in (*target, "weight")] for choice in one["variants"]],
            [[choice[key] for key in (*target, "share")] for choice in one["shadow"]],
        ]
        for one in experiments
    ]
