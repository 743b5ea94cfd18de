"""A kustomize overlay and the cluster that runs it, by kubectl alone: what the cluster_ modules work with."""

import json
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from serving.rollout.errors import RolloutError

APP = "app.kubernetes.io/name"
FORWARD_S = 20.0


class ClusterError(RolloutError):
    """kubectl failed, or the cluster has not what the overlay says; one line."""


@dataclass
class Cluster:
    """overlay: directory of a kustomization. context: of the kubeconfig; the current one when None.

    Every method raises ClusterError.
    """

    overlay: Path
    context: str | None = None
    documents: list[dict[str, Any]] = field(default_factory=list, init=False)
    namespace: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.render()
        names = {self._deployment(name)["metadata"]["namespace"] for name in ("gateway", "serving")}
        if len(names) != 1:
            raise ClusterError(f"{self.overlay}: gateway and serving are in different namespaces: {sorted(names)}")
        [self.namespace] = names

    def render(self) -> None:
        """Read the overlay again, after one of its files has changed."""
        self.documents = list(yaml.safe_load_all(self._kubectl("kustomize", str(self.overlay))))

    def config_map(self, name: str) -> dict[str, str]:
        """The data of a ConfigMap as the overlay has it."""
        return dict(self._find("ConfigMap", name)["data"])

    def live_config_map(self, name: str) -> dict[str, str] | None:
        """The data of a ConfigMap as the cluster has it; None where there is none."""
        found = self._in_namespace("get", "configmap", name, "--ignore-not-found", "--output=json")
        return dict(json.loads(found)["data"]) if found.strip() else None

    def environment(self, deployment: str) -> dict[str, str]:
        """The variables with a literal value, of a Deployment's container of the same name."""
        found = self._deployment(deployment)["spec"]["template"]["spec"]["containers"]
        [container] = [one for one in found if one["name"] == deployment]
        return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}

    def diff(self) -> str:
        """What an apply would change; empty for nothing."""
        # Its exit status is 1 for a difference, and more for an error.
        return self._kubectl("diff", "--kustomize", str(self.overlay), fine=(0, 1))

    def apply(self) -> None:
        """Apply the whole overlay."""
        self._kubectl("apply", "--kustomize", str(self.overlay))

    def apply_config_map(self, name: str) -> None:
        """Apply one ConfigMap of the overlay, and leave the rest of the cluster as it is."""
        self._kubectl("apply", "--filename=-", stdin=yaml.safe_dump(self._find("ConfigMap", name)))

    def annotate(self, app: str, key: str, value: str) -> None:
        """Set an annotation of all pods of an app."""
        self._in_namespace("annotate", "pods", f"--selector={APP}={app}", f"{key}={value}", "--overwrite")

    def wait_for_rollout(self, deployment: str, timeout_s: float) -> None:
        """Return when all pods of a Deployment are new and ready."""
        self._in_namespace("rollout", "status", f"deployment/{deployment}", f"--timeout={timeout_s:.0f}s")

    def pods(self, app: str) -> list[str]:
        """Names of an app's pods, but for those that are going."""
        found = json.loads(self._in_namespace("get", "pods", f"--selector={APP}={app}", "--output=json"))
        names = [pod["metadata"]["name"] for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]
        return sorted(names)

    @contextmanager
    def forward(self, pod: str, port: int) -> Iterator[str]:
        """host:port on this machine at which the pod's port answers."""
        command = [*self._command(), "port-forward", f"--namespace={self.namespace}", f"pod/{pod}", f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        assert process.stdout is not None
        try:
            # "Forwarding from 127.0.0.1:40123 -> 8500"
            ready = select.select([process.stdout], [], [], FORWARD_S)[0]
            words = process.stdout.readline().split() if ready else []
            if words[:2] != ["Forwarding", "from"]:
                process.kill()
                reason = _last_line(process.communicate()[1]) or f"no answer in {FORWARD_S:.0f} s"
                raise ClusterError(f"pod {pod}: port {port} cannot be reached: {reason}")
            yield words[2]
        finally:
            process.kill()
            process.communicate()

    def _deployment(self, name: str) -> dict[str, Any]:
        return self._find("Deployment", name)

    def _find(self, kind: str, name: str) -> dict[str, Any]:
        for document in self.documents:
            if document["kind"] == kind and document["metadata"]["name"] == name:
                return document
        raise ClusterError(f"{self.overlay} has no {kind} {name!r}")

    def _in_namespace(self, *arguments: str) -> str:
        return self._kubectl(*arguments, f"--namespace={self.namespace}")

    def _command(self) -> list[str]:
        return ["kubectl", *([f"--context={self.context}"] if self.context else [])]

    def _kubectl(self, *arguments: str, stdin: str | None = None, fine: Sequence[int] = (0,)) -> str:
        try:
            done = subprocess.run(  # noqa: S603
                [*self._command(), *arguments], input=stdin, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise ClusterError("kubectl is not on the PATH") from error
        if done.returncode not in fine:
            reason = _last_line(done.stderr) or f"exit status {done.returncode}"
            raise ClusterError(f"kubectl {' '.join(arguments[:3])}: {reason}")
        return done.stdout


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
