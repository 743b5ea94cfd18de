"""The steps of a rollout in a cluster: check, change, wait until every pod answers as the files say.

The files are what is true. A move edits models.config, applies it, and takes it back where a pod does not follow.
"""

import difflib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from serving import models_config
from serving.errors import ServingError
from serving.rollout import experiments
from serving.rollout.client import available, describe
from serving.rollout.experiments import Experiments
from serving.rollout.kubectl import APP, Cluster
from serving.rollout.labels import Labels, Move, labels_of, require_labels, with_label
from wire.target import Target

POLL_S = 2.0


def apply(cluster: Cluster, repository: Path, admin_key: str, timeout_s: float, *, dry_run: bool) -> None:
    """Apply everything, and wait until all pods are new and answer the labels and run the experiments of the files.

    Args:
        timeout_s: for each step.

    Raises:
        ServingError: before anything changes, or because a pod does not follow.
    """
    labels, planned = _planned(cluster, repository)
    before = cluster.live_config_map("experiments")
    edited = before not in ({}, cluster.config_map("experiments"))
    if edited and not admin_key:
        raise ServingError("experiments.yaml was edited, and EMOTION_ADMIN_KEY is not set to ask the gateways with")
    if edited:
        experiments.require_targets(cluster, planned)
    if dry_run:
        # The exit status is 1 for a difference, and more for an error.
        print(cluster.kubectl("diff", "--kustomize", str(cluster.overlay), fine=(0, 1)) or "nothing would change")
        return
    cluster.kubectl("apply", "--kustomize", str(cluster.overlay))
    for deployment in ("deployment/serving", "deployment/gateway"):
        cluster.in_namespace("rollout", "status", deployment, f"--timeout={timeout_s:.0f}s")
        print(f"{deployment}: rolled out")
    _require_everywhere(cluster, labels, planned if edited else None, admin_key, timeout_s)


def check(cluster: Cluster, repository: Path, admin_key: str) -> None:
    """What `apply` requires before and after, at this moment. Nothing changes.

    Raises:
        ServingError: something is not as the files say.
    """
    labels, planned = _planned(cluster, repository)
    experiments.require_targets(cluster, planned)
    _require_everywhere(cluster, labels, planned if admin_key else None, admin_key, 0)
    if not admin_key:
        print("EMOTION_ADMIN_KEY is not set: the gateways were not asked for their experiments")


def move_in_cluster(move: Move, cluster: Cluster) -> None:
    """Move a label in the file and in the cluster. A pod that does not follow in time takes it back, in both.

    Raises:
        ServingError: file and cluster are as before, or the message says which is not.
    """
    config, name, label, version = move.config, move.name, move.label, move.version
    if cluster.config_map("models-config")["models.config"] != config.text:
        raise ServingError(f"{cluster.overlay} is not made of {config.path}")
    if cluster.live_config_map("models-config").get("models.config") != config.text:
        # Otherwise, what somebody else has promoted would be taken back.
        raise ServingError(
            f"{config.path} is not what the cluster has: get the newest commit, or apply first"
            f" (kubectl diff -k {cluster.overlay} shows the difference)"
        )
    loaded = _versions_loaded(cluster, name, version)
    moved = with_label(config.proto, name, version, label, keep=move.before in loaded)
    print(move)
    if move.dry_run:
        old, new = (models_config.render(proto).splitlines() for proto in (config.proto, moved))
        print("\n".join(difflib.unified_diff(old, new, "models.config", "models.config, moved", lineterm="")))
        return
    try:
        config.replace(moved)
        _apply_models_config(cluster)
        _wait(cluster, "serving", partial(_require_labels, cluster, move.labels()), move.timeout_s)
    except (ServingError, KeyboardInterrupt) as error:
        reason = str(error) or type(error).__name__
        models_config.write(config.path, config.text)
        try:
            _apply_models_config(cluster)
            _hurry(cluster, "serving")
        except ServingError as second:
            raise ServingError(f"{reason}; {config.path} is as before, the cluster's is not: {second}") from error
        raise ServingError(f"{reason}; {config.path} and the cluster's are as before") from error
    print(f"every model server answers {label} with version {version}; commit {config.path}")


def _planned(cluster: Cluster, repository: Path) -> tuple[Labels, Experiments]:
    """What the overlay asks for, if its versions are in the repository and no label is elsewhere in the cluster."""
    labels, there = (
        labels_of(models_config.parse(data["models.config"], source / "models.config")) if data else {}
        for data, source in (
            (cluster.config_map("models-config"), cluster.overlay),
            (cluster.live_config_map("models-config"), Path("cluster")),
        )
    )
    for target, version in labels.items():
        name = f"{target.model} {target.label}"
        if not (repository / target.model / str(version) / "saved_model.pb").exists():
            raise ServingError(f"models.config: {name} is version {version}, which is not in {repository}")
        if (other := there.get(target, version)) != version:
            raise ServingError(
                f"{name} is version {other} in the cluster and {version} in models.config:"
                " get the newest commit, or move it with `promote`"
            )
    return labels, experiments.read(cluster)


def _versions_loaded(cluster: Cluster, name: str, version: int) -> set[int]:
    """Versions that are AVAILABLE on every pod, if `version` is one of them and answers."""
    loaded: list[set[int]] = []
    for pod in cluster.pods("serving"):
        with cluster.model_server(pod) as server:
            states = server.states(name)
            loaded.append(available(states))
            if version not in loaded[-1]:
                raise ServingError(
                    f"pod {pod} has not loaded {name} version {version} (it has {describe(states)}):"
                    " roll out an image that has it"
                )
            # Some broken versions load, and fail at the first request.
            server.answering_version(Target(name, version))
    if not loaded:
        raise ServingError(f"no model server runs in namespace {cluster.namespace}")
    return set.intersection(*loaded)


def _require_everywhere(
    cluster: Cluster, labels: Labels, planned: Experiments | None, admin_key: str, timeout_s: float
) -> None:
    """Every model server answers the labels, and every gateway runs the experiments unless they are None."""
    _wait(cluster, "serving", partial(_require_labels, cluster, labels), timeout_s)
    print("every model server answers the labels of models.config")
    if planned is not None:
        _wait(cluster, "gateway", partial(experiments.require_in_use, cluster, planned, admin_key), timeout_s)
        print("every gateway has taken up experiments.yaml")


def _require_labels(cluster: Cluster, labels: Labels, pod: str) -> None:
    with cluster.model_server(pod) as server:
        require_labels(server, labels)


def _apply_models_config(cluster: Cluster) -> None:
    cluster.render()
    # This one alone: the rest of the cluster stays as it is.
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(cluster.find("ConfigMap", "models-config")))


def _hurry(cluster: Cluster, app: str) -> None:
    # Kubelets look for changed ConfigMaps within two minutes, and at once when an annotation of the pod changes.
    annotation = f"emotion-serving/config-applied={time.time():.0f}"
    cluster.in_namespace("annotate", "pods", f"--selector={APP}={app}", annotation, "--overwrite")


def _wait(cluster: Cluster, app: str, require: Callable[[str], None], timeout_s: float) -> None:
    """Return when `require` raises for no pod of an app.

    Args:
        timeout_s: 0 to look once, and change nothing.
    """
    if timeout_s:
        _hurry(cluster, app)
    deadline = time.monotonic() + timeout_s
    right: set[str] = set()
    while True:
        # Asked for again, because the autoscaler may have added some.
        pods = set(cluster.pods(app))
        reasons = []
        for pod in sorted(pods - right):
            try:
                require(pod)
                right.add(pod)
            except ServingError as error:
                reasons.append(str(error))
        if pods and not reasons:
            return
        if time.monotonic() >= deadline:
            after = f"after {timeout_s:.0f} s: " if timeout_s else ""
            raise ServingError(f"{after}{'; '.join(reasons) or f'no pod of {app} runs'}")
        time.sleep(POLL_S)
