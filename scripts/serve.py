"""`make serve`: a model server and the gateway on this machine, shown to work on the bundled photo.

Uses tensorflow_model_server where it is on PATH, `python -m serving` otherwise, with the same flags and the same
models.config. Ports: EMOTION_PORT (8000) and MODEL_SERVER_PORT (8500). Logs: .run/. Stops both on Ctrl-C or SIGTERM.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / ".run"
PHOTO = Path("api/samples/two.jpg")
HOST = "127.0.0.1"
READY_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20


class StartError(Exception):
    """The service cannot be started; the message is all that the user needs."""


def main() -> int:
    http_port = int(os.environ.get("EMOTION_PORT", "8000"))
    grpc_port = int(os.environ.get("MODEL_SERVER_PORT", "8500"))
    # SIGINT too: a shell that starts this in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for port, variable in ((grpc_port, "MODEL_SERVER_PORT"), (http_port, "EMOTION_PORT")):
            _require_free(port, variable)
        RUN.mkdir(exist_ok=True)
        print(f"starting the model server and the gateway; their logs are in {RUN.name}/", flush=True)
        processes["model server"] = _spawn("model server", _model_server(grpc_port))
        gateway_environment = {
            "EMOTION_HOST": HOST,
            "EMOTION_PORT": str(http_port),
            "EMOTION_MODEL_SERVER": f"{HOST}:{grpc_port}",
        }
        processes["gateway"] = _spawn("gateway", [sys.executable, "-m", "api"], gateway_environment)
        _wait_until_ready(http_port, processes)
        _show(http_port)
        while True:
            _require_running(processes)
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nstopping")
        return 0
    except StartError as error:
        print(f"make serve: {error}", file=sys.stderr)
        return 1
    finally:
        # The gateway first: it may still be waiting for the model server's answers.
        for name in ("gateway", "model server"):
            if name in processes:
                _stop(name, processes[name])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _require_free(port: int, variable: str) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise StartError(f"port {port} is in use; choose another with {variable}=...") from error


def write_models_config() -> Path:
    """The models.config to start with: serving/models.config, with what was promoted since.

    `python -m serving promote` edits the file in .run/, and a restart must not undo that; but what changes in
    serving/models.config (a new model, say) must arrive. So a model keeps its entry in .run/ unless its shipped entry
    is another than at the last start, of which models.config.shipped is the copy; and a model that was added in .run/
    stays. Deleting .run/ forgets promotions.
    """
    config, before = RUN / "models.config", RUN / "models.config.shipped"
    # Base paths must be absolute; /models is where the containers have the repository.
    text = (ROOT / "serving" / "models.config").read_text(encoding="utf-8")
    text = text.replace('"/models/', f'"{ROOT}/model_repository/')
    if not (config.exists() and before.exists()):
        _replace(config, text)
    elif before.read_text(encoding="utf-8") != text:
        _replace(config, _merged(_parse(text, "serving/models.config"), _read(before), _read(config)))
    # Last: after a kill in between, the merge is done again, with the same result.
    _replace(before, text)
    return config


def _merged(shipped: Any, before: Any, running: Any) -> str:
    old, kept = ({entry.name: entry for entry in proto.model_config_list.config} for proto in (before, running))
    for entry in shipped.model_config_list.config:
        if entry.name in kept and entry == old.get(entry.name):
            entry.CopyFrom(kept[entry.name])
    names = {entry.name for entry in shipped.model_config_list.config}
    # What was never shipped is the user's own.
    shipped.model_config_list.config.extend(kept[name] for name in kept if name not in names and name not in old)
    return text_format.MessageToString(shipped, as_utf8=True)


def _read(path: Path) -> Any:
    return _parse(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))


def _parse(text: str, name: str) -> Any:
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise StartError(f"{name}:{error}") from error


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _model_server(port: int) -> list[str]:
    flags = [
        f"--port={port}",
        f"--model_config_file={write_models_config()}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
        "--file_system_poll_wait_seconds=1",
    ]
    if installed := shutil.which("tensorflow_model_server"):
        return [installed, *flags]
    # TensorFlow Serving always listens on every address; on a laptop this one need not.
    return [sys.executable, "-m", "serving", f"--host={HOST}", *flags]


def _log(name: str) -> Path:
    return RUN / f"{name.replace(' ', '-')}.log"


def _spawn(name: str, command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    with _log(name).open("wb") as log:
        # A session of its own, so that Ctrl-C reaches this process alone and the order of stopping is ours.
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _require_running(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            log = _log(name)
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2] or "it said nothing"
            raise StartError(
                f"the {name} stopped with exit status {process.returncode}: {last} ({log.relative_to(ROOT)})"
            )


def _wait_until_ready(port: int, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    reason = "no answer"
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        _require_running(processes)
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
        except OSError as error:
            reason = str(error)
        time.sleep(0.25)
    raise StartError(f"not ready after {READY_TIMEOUT_S} s: {reason}")


def _show(port: int) -> None:
    url = f"http://{HOST}:{port}/predict"
    request = urllib.request.Request(url, data=(ROOT / PHOTO).read_bytes(), headers={"Content-Type": "image/jpeg"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
    except OSError as error:
        raise StartError(f"POST {url} failed: {error}") from error
    model, size = answer["model"], answer["image"]
    print(f"\n{PHOTO}, {size['width']}x{size['height']} pixels, by {model['name']} version {model['version']}:\n")
    rows = [("face", "x", "y", "width", "height", "emotion", "confidence")]
    for number, face in enumerate(answer["faces"], start=1):
        box = (str(face["box"][key]) for key in ("x", "y", "width", "height"))
        rows.append((str(number), *box, face["emotion"], f"{face['confidence']:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    print(f"\nThe same by hand:\n\n  curl -F file=@{PHOTO} {url}\n")
    print(f"API documentation: http://{HOST}:{port}/docs. Ctrl-C stops.", flush=True)


def _stop(name: str, process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"make serve: the {name} did not stop within {STOP_TIMEOUT_S} s and was killed", file=sys.stderr)
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
