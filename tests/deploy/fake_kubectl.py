"""Stands in for kubectl where there is no cluster: a folder of state, and real servers behind its pods.

state.json: `kubectl` (the real one, for `kustomize`), `namespace`, `pods` (name: app, ports, mounts), `refusing` (a
verb that fails). config_maps/NAME.json are what the API server holds. As with a kubelet, a pod's mounts follow only
when the pod is annotated: a new directory, and ..data swapped to it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HOME = Path(__file__).resolve().parent
STATE: dict[str, Any] = json.loads((HOME / "state.json").read_text())


def main(arguments: list[str]) -> int:
    with (HOME / "log").open("a") as log:
        log.write(" ".join(arguments) + "\n")
    words = [word for word in arguments if not word.startswith("-")]
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in arguments if word.startswith("-"))
    if STATE["refusing"] == words[0]:
        print(f"warning: first\nerror: {words[0]} is refused", file=sys.stderr)
        return 1
    if words[0] not in ("kustomize", "apply", "diff") and flags["namespace"] != STATE["namespace"]:
        print("error: wrong namespace", file=sys.stderr)
        return 1
    match words:
        case ["kustomize", overlay]:
            return subprocess.run([STATE["kubectl"], "kustomize", overlay], check=False).returncode
        case ["get", "configmap", name]:
            found = HOME / "config_maps" / f"{name}.json"
            print(found.read_text() if found.exists() else "")
        case ["get", "pods"]:
            names = pods(flags["selector"])
            print(json.dumps({"items": [{"metadata": {"name": name}} for name in names] + [going(flags["selector"])]}))
        case ["apply"] if "filename" in flags:
            store(yaml.safe_load_all(sys.stdin.read()))
        case ["apply", overlay]:
            text = subprocess.check_output([STATE["kubectl"], "kustomize", overlay], text=True)
            store(yaml.safe_load_all(text))
        case ["diff", overlay]:
            print(f"a difference in {overlay}")
            return 1
        case ["annotate", "pods", _]:
            for name in pods(flags["selector"]):
                mount(STATE["pods"][name])
        case ["rollout", "status", deployment]:
            print(f"{deployment} successfully rolled out")
        case ["port-forward", pod, port]:
            print(
                f"Forwarding from 127.0.0.1:{STATE['pods'][pod.removeprefix('pod/')]['ports'][port]} -> {port}",
                flush=True,
            )
            signal.pause()
        case _:
            print(f"error: unknown command {arguments}", file=sys.stderr)
            return 1
    return 0


def pods(selector: str) -> list[str]:
    return [name for name, pod in STATE["pods"].items() if selector == f"app.kubernetes.io/name={pod['app']}"]


def going(selector: str) -> dict[str, Any]:
    """A pod that is being deleted, which nobody may ask."""
    return {"metadata": {"name": f"{selector.partition('=')[2]}-old", "deletionTimestamp": "2026-12-01T00:00:00Z"}}


def store(documents: Any) -> None:
    for document in documents:
        if document["kind"] == "ConfigMap":
            (HOME / "config_maps" / f"{document['metadata']['name']}.json").write_text(json.dumps(document))


def mount(pod: dict[str, Any]) -> None:
    for folder, name in pod["mounts"].items():
        data = json.loads((HOME / "config_maps" / f"{name}.json").read_text())["data"]
        target = Path(folder) / f"..{os.getpid()}"
        target.mkdir()
        for key, text in data.items():
            (target / key).write_text(text)
        link = Path(folder) / "..data_tmp"
        link.symlink_to(target.name)
        link.rename(Path(folder) / "..data")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
