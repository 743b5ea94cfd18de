"""`make serve`'s own program, on free ports."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from selenium import webdriver

from tests.chromium import camera, chromium
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


# What scripts/serve.py and the processes that it starts take from the repository.
USED = ("api", "faces", "model_repository", "wire")

# Loads in a third of the time that all shipped versions take.
ONE_VERSION = """
model_config_list {
  config {
    name: "random" base_path: "/models/random" model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 } } version_labels { key: "stable" value: 3 }
  }
}
"""


@dataclass
class Demo:
    """scripts/serve.py running in `tree`; `output` is what it printed so far."""

    tree: Path
    http_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    path: str = field(default_factory=lambda: os.environ["PATH"])
    # Of the gateway, by their environment variables.
    settings: dict[str, str] = field(default_factory=dict)
    output: str = ""

    def start(self) -> None:
        environment = {
            **os.environ,
            **self.settings,
            "EMOTION_PORT": str(self.http_port),
            "MODEL_SERVER_PORT": str(self.grpc_port),
            "PATH": self.path,
            "PYTHONPATH": str(self.tree),
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve"],
            cwd=self.tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_for(self, text: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            try:
                self.output += self._lines.get(timeout=0.2)
            except queue.Empty:
                assert time.monotonic() < deadline, f"{text!r} not in:\n{self.output}"
                assert self.process.poll() is None or not self._lines.empty(), f"it stopped:\n{self.output}"

    def wait(self, seconds: float = 60) -> int:
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        while not self._lines.empty():
            self.output += self._lines.get()
        return status

    def close(self) -> None:
        if not hasattr(self, "process"):
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._reader.join(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


def make_tree(folder: Path) -> Path:
    """A working tree of its own, so that .run/ is neither the user's nor another test's."""
    for name in USED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "serving", folder / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    # Copies, because it takes the folder above its own for the repository.
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Not yet started; it serves one version of one model."""
    demo = Demo(make_tree(tmp_path_factory.mktemp("tree")))
    (demo.tree / "serving" / "models.config").write_text(ONE_VERSION)
    yield demo
    demo.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Started and ready; all tests share it."""
    demo = Demo(make_tree(tmp_path_factory.mktemp("tree")))
    demo.start()
    demo.wait_for("Ctrl-C stops.")
    yield demo
    demo.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    folder = tmp_path_factory.mktemp("chromium")
    with chromium(folder / "profile", *camera(folder)) as driver:
        yield driver
