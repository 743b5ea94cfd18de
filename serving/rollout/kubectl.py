"""A kustomize overlay and the cluster that runs it, by kubectl alone."""

import json
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from serving.errors import ServingError
from serving.rollout.client import ModelServer, connect

APP = "app.kubernetes.io/name"
FORWARD_S = 20.0
MODEL_SERVER_PORT = 8500


class Cluster:
    """An overlay and its cluster.

    Args:
        overlay: directory of a kustomization.
        context: of the kubeconfig; None: the current one.

    Raises:
        ServingError: by every method.
    """

    def __init__(self, overlay: Path, context: str | None = None) -> None:
        self.overlay = overlay
        self._program = ["kubectl", *([f"--context={context}"] if context else [])]
        self.render()
        names = {self.find("Deployment", name)["metadata"]["namespace"] for name in ("gateway", "serving")}
        if len(names) != 1:
            raise ServingError(f"{overlay}: gateway and serving are in different namespaces: {sorted(names)}")
        [self.namespace] = names

    def render(self) -> None:
        """Read the overlay again, after one of its files has changed."""
        self._documents: list[dict[str, Any]] = list(yaml.safe_load_all(self.kubectl("kustomize", str(self.overlay))))

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """A document of the overlay."""
        for document in self._documents:
            if document["kind"] == kind and document["metadata"]["name"] == name:
                return document
        raise ServingError(f"{self.overlay} has no {kind} {name!r}")

    def config_map(self, name: str) -> dict[str, str]:
        """The data of a ConfigMap as the overlay has it."""
        return dict(self.find("ConfigMap", name)["data"])

    def live_config_map(self, name: str) -> dict[str, str]:
        """The data of a ConfigMap as the cluster has it; empty where there is none."""
        found = self.in_namespace("get", "configmap", name, "--ignore-not-found", "--output=json")
        return dict(json.loads(found)["data"]) if found.strip() else {}

    def pods(self, app: str) -> list[str]:
        """Names of an app's pods, but for those that are going."""
        found = json.loads(self.in_namespace("get", "pods", f"--selector={APP}={app}", "--output=json"))
        return sorted(pod["metadata"]["name"] for pod in found["items"] if "deletionTimestamp" not in pod["metadata"])

    @contextmanager
    def forward(self, pod: str, port: int) -> Iterator[str]:
        """host:port on this machine at which the pod's port answers."""
        command = [*self._program, "port-forward", f"--namespace={self.namespace}", f"pod/{pod}", f":{port}"]
        # No shell; the words are the operator's options and names of the cluster.
        process = subprocess.Popen(  # noqa: S603  # nosec B603
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            # "Forwarding from 127.0.0.1:40123 -> 8500"
            ready = select.select([process.stdout], [], [], FORWARD_S)[0]
            words = process.stdout.readline().split() if ready else []
            if words[:2] != ["Forwarding", "from"]:
                process.kill()
                reason = _last_line(process.communicate()[1]) or f"no answer in {FORWARD_S:.0f} s"
                raise ServingError(f"pod {pod}: port {port} cannot be reached: {reason}")
            yield words[2]
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def model_server(self, pod: str) -> Iterator[ModelServer]:
        """The model server in a pod; its errors name the pod."""
        with self.forward(pod, MODEL_SERVER_PORT) as address, connect(address, f"pod {pod}") as server:
            yield server

    def in_namespace(self, *arguments: str) -> str:
        """`kubectl` in the overlay's namespace."""
        return self.kubectl(*arguments, f"--namespace={self.namespace}")

    def kubectl(self, *arguments: str, stdin: str | None = None, fine: Sequence[int] = (0,)) -> str:
        """What a command prints, if it ends with one of the `fine` exit statuses."""
        try:
            # No shell; as above.
            done = subprocess.run(  # noqa: S603  # nosec B603
                [*self._program, *arguments], input=stdin, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise ServingError("kubectl is not on the PATH") from error
        if done.returncode not in fine:
            reason = _last_line(done.stderr) or f"exit status {done.returncode}"
            raise ServingError(f"kubectl {' '.join(arguments[:3])}: {reason}")
        return done.stdout


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
