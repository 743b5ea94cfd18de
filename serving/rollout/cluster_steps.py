"""The steps of `python -m serving cluster`: check, change, wait for every pod."""

import difflib
import time
from collections.abc import Callable
from pathlib import Path

from serving.rollout import models_config
from serving.rollout.cluster import Cluster, ClusterError
from serving.rollout.cluster_checks import (
    Labels,
    labels_of,
    read_experiments,
    require_targets,
    versions_loaded,
    wrong_experiments,
    wrong_labels,
)

POLL_S = 2.0


def apply_overlay(cluster: Cluster, repository: Path, admin_key: str, timeout: float, *, dry_run: bool) -> None:
    """Apply everything, and wait until all pods are new and answer the labels and run the experiments of the files.

    timeout: seconds, for each step. Raises RolloutError.
    """
    labels = labels_of(cluster.config_map("models-config"), cluster.overlay)
    for name, label, version in labels:
        if not (repository / name / str(version) / "saved_model.pb").exists():
            raise ClusterError(f"models.config: {name} {label} is version {version}, which is not in {repository}")
    _require_same_labels(cluster, labels)
    experiments = read_experiments(cluster)
    before = cluster.live_config_map("experiments")
    edited = before is not None and before != cluster.config_map("experiments")
    if edited and not admin_key:
        raise ClusterError("experiments.yaml was edited, and EMOTION_ADMIN_KEY is not set to ask the gateways with")
    if edited:
        require_targets(cluster, experiments)
    if dry_run:
        print(cluster.diff() or "nothing would change")
        return
    cluster.apply()
    for deployment in ("serving", "gateway"):
        cluster.wait_for_rollout(deployment, timeout)
        print(f"deployment/{deployment}: rolled out")
    _wait(cluster, "serving", lambda pod: wrong_labels(cluster, pod, labels), timeout)
    print("every model server answers the labels of models.config")
    if edited:
        _wait(cluster, "gateway", lambda pod: wrong_experiments(cluster, pod, experiments, admin_key), timeout)
        print("every gateway has taken up experiments.yaml")


def move_label(
    cluster: Cluster, path: Path, name: str, label: str, version: int | None, timeout: float, *, dry_run: bool
) -> None:
    """Move a label to `version` in the file and in the cluster; None: to where it was before the last promotion.

    A pod that does not follow within `timeout` seconds takes it back, in both. Raises RolloutError.
    """
    config = models_config.read(path)
    text = path.read_text(encoding="utf-8")
    if cluster.config_map("models-config")["models.config"] != text:
        raise ClusterError(f"{cluster.overlay} is not made of {path}")
    live = cluster.live_config_map("models-config")
    if live is None or live["models.config"] != text:
        # Otherwise, what somebody else has promoted would be taken back.
        raise ClusterError(
            f"{path} is not what the cluster has: get the newest commit, or apply first"
            f" (kubectl diff -k {cluster.overlay} shows the difference)"
        )
    if version is None:
        version = config.version_before(name, label)
    before = config.entry(name).version_labels.get(label)
    loaded = versions_loaded(cluster, name, version)
    moved = models_config.with_label(config.proto, name, version, label, keep=before in loaded)
    print(f"{name}: {label} from {'nowhere' if before is None else f'version {before}'} to version {version}")
    if dry_run:
        old, new = (models_config.render(proto).splitlines() for proto in (config.proto, moved))
        print("\n".join(difflib.unified_diff(old, new, "models.config", "models.config, moved", lineterm="")))
        return
    try:
        models_config.write(config, moved)
        _apply_labels(cluster)
        _wait(cluster, "serving", lambda pod: wrong_labels(cluster, pod, [(name, label, version)]), timeout)
    except (ClusterError, OSError, KeyboardInterrupt) as error:
        reason = str(error) or type(error).__name__
        config.path.write_text(text, encoding="utf-8")
        try:
            _apply_labels(cluster)
            _hurry(cluster, "serving")
        except ClusterError as second:
            raise ClusterError(f"{reason}; {path} is as before, the cluster's is not: {second}") from error
        raise ClusterError(f"{reason}; {path} and the cluster's are as before") from error
    print(f"every model server answers {label} with version {version}; commit {path}")


def _apply_labels(cluster: Cluster) -> None:
    cluster.render()
    cluster.apply_config_map("models-config")


def _require_same_labels(cluster: Cluster, labels: Labels) -> None:
    live = cluster.live_config_map("models-config")
    there = {(name, label): version for name, label, version in (labels_of(live, Path("cluster")) if live else ())}
    for name, label, version in labels:
        if (other := there.get((name, label), version)) != version:
            raise ClusterError(
                f"{name} {label} is version {other} in the cluster and {version} in models.config:"
                " get the newest commit, or move it with `promote`"
            )


def _hurry(cluster: Cluster, app: str) -> None:
    # Kubelets look for changed ConfigMaps within two minutes, and at once when an annotation of the pod changes.
    cluster.annotate(app, "emotion-serving/config-applied", str(int(time.time())))


def _wait(cluster: Cluster, app: str, wrong: Callable[[str], str], timeout: float) -> None:
    """Return when `wrong` has nothing to say about any pod of an app. What it raises counts as said."""
    _hurry(cluster, app)
    deadline = time.monotonic() + timeout
    right: set[str] = set()
    while True:
        # Asked for again, because the autoscaler may have added some.
        pods = set(cluster.pods(app))
        reasons = []
        for pod in sorted(pods - right):
            try:
                reason = wrong(pod)
            except ClusterError as error:
                reason = str(error)
            if reason:
                reasons.append(reason)
            else:
                right.add(pod)
        if pods and not reasons:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"after {timeout:.0f} s: {'; '.join(reasons) or f'no pod of {app} runs'}")
        time.sleep(POLL_S)
