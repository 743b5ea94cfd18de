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
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from serving import models_config
from serving.errors import ServingError
from wire.serving_pb2 import ModelConfigList, ModelServerConfig

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / ".run"
PHOTO = Path("api/samples/two.jpg")
HOST = "127.0.0.1"
READY_TIMEOUT_S = 180
FETCH_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
# Whatever proxy the environment names, this machine is not behind it.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ROW = "  {:>4}  {:>3}  {:>3}  {:>5}  {:>6}  {:>8}  {:>10}"

Processes = dict[str, subprocess.Popen[bytes]]  # what runs, by the name that messages call it


def main() -> int:
    http_port = int(os.environ.get("EMOTION_PORT", "8000"))
    grpc_port = int(os.environ.get("MODEL_SERVER_PORT", "8500"))
    # SIGINT too: a shell that starts this in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    gateway = {"EMOTION_HOST": HOST, "EMOTION_PORT": f"{http_port}", "EMOTION_MODEL_SERVER": f"{HOST}:{grpc_port}"}
    # The gateway stops first, because it may still be waiting for the model server's answers.
    with ExitStack() as stack:
        try:
            for port, variable in ((grpc_port, "MODEL_SERVER_PORT"), (http_port, "EMOTION_PORT")):
                _require_free(port, variable)
            RUN.mkdir(exist_ok=True)
            print(f"starting the model server and the gateway; their logs are in {RUN.name}/", flush=True)
            gateway |= _detector()
            processes: Processes = {}
            _start("model server", _model_server(grpc_port), {}, processes, stack)
            _start("gateway", [sys.executable, "-m", "api"], gateway, processes, stack)
            _wait_until_ready(http_port, processes)
            _show(http_port)
            while True:
                _require_running(processes)
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("\nstopping")
            return 0
        except ServingError as error:
            print(f"make serve: {error}", file=sys.stderr)
            return 1


def _detector() -> dict[str, str]:
    """Environment of the gateway: where YuNet's file is, unless it cannot be had or the caller chose for himself."""
    if not {"EMOTION_DETECTOR", "EMOTION_YUNET_MODEL"}.isdisjoint(os.environ):
        return {}
    command = [sys.executable, "-m", "faces.detect.fetch"]
    try:
        # A process of its own, because no limit holds for the look-up of a name. Constant words, no shell.
        done = subprocess.run(  # noqa: S603  # nosec B603
            command, cwd=ROOT, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
        path, reason = done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        path, reason = "", f"no YuNet: not within {FETCH_TIMEOUT_S} s"
    if not path:
        print(f"{reason}; MTCNN finds the faces", flush=True)
        return {}
    return {"EMOTION_YUNET_MODEL": path}


def _require_free(port: int, variable: str) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ServingError(f"port {port} is in use; choose another with {variable}=...") from error


def write_models_config(root: Path = ROOT) -> Path:
    """Write the models.config to start with: serving/models.config, with what was promoted since.

    `python -m serving promote` edits the file in .run/, and a restart must not undo that; but what changes in
    serving/models.config (a new model, say) must arrive. So a model keeps its entry in .run/ unless its shipped entry
    is another than at the last start, of which models.config.shipped is the copy; and a model that was added in .run/
    stays. Deleting .run/ forgets promotions.
    """
    config, before = root / ".run" / "models.config", root / ".run" / "models.config.shipped"
    # Base paths must be absolute; /models is where the containers have the repository.
    text = (root / "serving" / "models.config").read_text(encoding="utf-8")
    text = text.replace('"/models/', f'"{root}/model_repository/')
    shipped = models_config.parse(text, Path("serving/models.config"))
    if not (config.exists() and before.exists()):
        models_config.write(config, text)
    elif before.read_text(encoding="utf-8") != text:
        new, old, kept = (
            {entry.name: entry for entry in proto.model_config_list.config}
            for proto in (shipped, models_config.read(before).proto, models_config.read(config).proto)
        )
        entries = [kept.get(name, entry) if entry == old.get(name) else entry for name, entry in new.items()]
        # What was never shipped is the user's own.
        entries += [entry for name, entry in kept.items() if name not in new and name not in old]
        merged = ModelServerConfig(model_config_list=ModelConfigList(config=entries))
        models_config.write(config, models_config.render(merged))
    # Last: after a kill in between, the merge is done again, with the same result.
    models_config.write(before, text)
    return config


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


def _start(name: str, command: list[str], environment: dict[str, str], processes: Processes, stack: ExitStack) -> None:
    with _log(name).open("wb") as log:
        # A session of its own, so that Ctrl-C reaches this process alone and the order of stopping is ours.
        # No shell, and words of ours.
        processes[name] = subprocess.Popen(  # noqa: S603  # nosec B603
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stack.callback(_stop, name, processes[name])


def _require_running(processes: Processes) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            log = _log(name)
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2] or "it said nothing"
            status = f"the {name} stopped with exit status {process.returncode}"
            raise ServingError(f"{status}: {last} ({log.relative_to(ROOT)})")


def _wait_until_ready(port: int, processes: Processes) -> None:
    reason = "no answer"
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        _require_running(processes)
        try:
            with _DIRECT.open(f"http://{HOST}:{port}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace")
        except OSError as error:
            reason = str(error)
        time.sleep(0.25)
    raise ServingError(f"not ready after {READY_TIMEOUT_S} s: {reason}")


def _show(port: int) -> None:
    url = f"http://{HOST}:{port}/v1/predict"
    request = urllib.request.Request(url, data=(ROOT / PHOTO).read_bytes(), headers={"Content-Type": "image/jpeg"})
    try:
        with _DIRECT.open(request, timeout=30) as response:
            answer = json.load(response)
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == HTTPStatus.UNAUTHORIZED:
            # EMOTION_KEYS_FILE holds digests of keys only, so there is none to show a photo with.
            print(f"\nhttp://{HOST}:{port}/ asks for a key. Ctrl-C stops.", flush=True)
            return
        raise ServingError(f"POST {url} failed: {error}") from error
    model, size = answer["model"], answer["image"]
    print(f"\n{PHOTO}, {size['width']}x{size['height']} pixels, by {model['name']} version {model['version']}:\n")
    print(ROW.format("face", "x", "y", "width", "height", "emotion", "confidence"))
    for number, face in enumerate(answer["faces"], start=1):
        box = (face["box"][key] for key in ("x", "y", "width", "height"))
        print(ROW.format(number, *box, face["emotion"], f"{face['confidence']:.2f}"))
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
