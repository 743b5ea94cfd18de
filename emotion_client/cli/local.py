"""--local: a model server and a gateway of one's own, for as long as a command runs."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

from emotion_client.errors import EmotionError

HOST = "127.0.0.1"
DEFAULT_MODEL = "random"
_READY_S, _FETCH_S, _STOP_S = 180.0, 30.0, 20.0

_ENTRY = """  config {{
    name: "{name}"
    base_path: "{path}"
    model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: {newest} }}
  }}
"""


@contextmanager
def service(url: str, local: bool, repository: Path) -> Iterator[str]:
    """The URL of the service to ask: `url`, or that of one which runs until the block ends.

    Args:
        repository: models as folders of numbered versions. `stable` is the newest of each. The default is `random`
            where there is one, and the first by name otherwise.

    Raises:
        EmotionError: there are no models, the extras gateway and serving are not installed, or it does not start.
    """
    if not local:
        yield url
        return
    models = _models(repository)
    missing = [name for name in ("api", "serving", "uvicorn", "tensorflow") if importlib.util.find_spec(name) is None]
    if missing:
        raise EmotionError(f"--local needs the extras gateway and serving ({missing[0]} is missing)")
    with ExitStack() as stack:
        stack.enter_context(_interrupted_by_sigterm())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emotion-")))
        with Console(stderr=True).status("starting a model server and a gateway"):
            url = _start(models, folder, stack)
        yield url


def _models(repository: Path) -> dict[str, Path]:
    try:
        folders = {path.name: path.resolve() for path in sorted(repository.iterdir()) if _newest(path)}
    except OSError as error:
        raise EmotionError(f"--repository {repository}: {error.strerror}") from error
    if not folders:
        raise EmotionError(f"--repository {repository}: has no model, such as random/3/saved_model.pb")
    return folders


def _newest(model: Path) -> int:
    """The highest version's number; 0 where it has none."""
    versions = (path.parent.name for path in model.glob("*/saved_model.pb"))
    return max((int(name) for name in versions if name.isascii() and name.isdecimal()), default=0)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that nothing is left running."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class _Process:
    name: str
    log: Path
    running: "subprocess.Popen[bytes]" = field(repr=False)

    def require(self) -> None:
        """Raises EmotionError: it has ended."""
        if self.running.poll() is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise EmotionError(f"the {self.name} of --local stopped: {said or 'it said nothing'}")

    def stop(self) -> None:
        self.running.terminate()
        try:
            self.running.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()


def _start(models: dict[str, Path], folder: Path, stack: ExitStack) -> str:
    """Start both, and wait until a photo would be answered. The gateway ends first."""
    entries = "".join(_ENTRY.format(name=name, path=path, newest=_newest(path)) for name, path in models.items())
    config = folder / "models.config"
    config.write_text(f"model_config_list {{\n{entries}}}\n", encoding="utf-8")
    server, port = f"{HOST}:{_free_port()}", _free_port()
    flags = [
        f"--port={server.rpartition(':')[2]}",
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
    ]
    if installed := shutil.which("tensorflow_model_server"):
        command = [installed, *flags]
    else:
        command = [sys.executable, "-m", "serving", f"--host={HOST}", *flags]
    gateway = {
        "EMOTION_HOST": HOST,
        "EMOTION_PORT": f"{port}",
        "EMOTION_MODEL_SERVER": server,
        "EMOTION_MODELS": ",".join(models),
        "EMOTION_DEFAULT_MODEL": DEFAULT_MODEL if DEFAULT_MODEL in models else next(iter(models)),
        "EMOTION_DEFAULT_LABEL": "stable",
        "EMOTION_DATABASE_URL": f"sqlite:///{folder}/outcomes.db",
    }
    processes = [
        _run("model server", command, {}, folder, stack),
        _run("gateway", [sys.executable, "-m", "api"], {**_detector(), **gateway}, folder, stack),
    ]
    url = f"http://{HOST}:{port}"
    deadline, reason = time.monotonic() + _READY_S, "no answer"
    # Whatever proxy the environment names, this machine is not behind it.
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            for process in processes:
                process.require()
            try:
                answer = client.get(f"{url}/readyz")
            except httpx.HTTPError as error:
                reason = str(error)
            else:
                if answer.is_success:
                    return url
                reason = answer.text
            time.sleep(0.2)
    raise EmotionError(f"the service of --local is not ready after {_READY_S:.0f} s: {reason}")


def _run(name: str, command: list[str], environment: dict[str, str], folder: Path, stack: ExitStack) -> _Process:
    log = folder / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as file:
        # A session of its own, so that Ctrl-C reaches the command alone. Words of ours, no shell.
        running = subprocess.Popen(  # noqa: S603  # nosec B603
            command,
            env=os.environ | environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    process = _Process(name, log, running)
    stack.callback(process.stop)
    return process


def _detector() -> dict[str, str]:
    """Where YuNet's file is, unless it cannot be had or the caller chose for himself."""
    if not {"EMOTION_DETECTOR", "EMOTION_YUNET_MODEL"}.isdisjoint(os.environ):
        return {}
    command = [sys.executable, "-m", "faces.detect.fetch"]
    try:
        # Words of ours, no shell.
        done = subprocess.run(  # noqa: S603  # nosec B603
            command, capture_output=True, text=True, timeout=_FETCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {}
    path = done.stdout.strip()
    return {"EMOTION_YUNET_MODEL": path} if path else {}


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])
