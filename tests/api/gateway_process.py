"""`python -m api` as a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_S = 100


class GatewayProcess:
    """Started, and ready to be asked when the constructor returns. Its log goes to a file."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None, **settings: object) -> None:
        """settings: by the names that they have in api/settings.py. environment: further variables."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "gateway.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("EMOTION_", "OTEL_"))}
        defaults = {
            "port": 0,
            "models": "residual",
            "default_model": "residual",
            "default_label": "",
            "database_url": f"sqlite:///{folder}/outcomes.db",
            "log_json": "true",
            # A machine that has other work refuses nothing, unless a test says so.
            "queue_s": 30,
        }
        variables = {f"EMOTION_{name.upper()}": str(value) for name, value in {**defaults, **settings}.items()}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api"], env={**inherited, **variables, **(environment or {})}, stderr=log
            )
        try:
            self._wait_for_startup()
        except BaseException:
            self.close()
            raise
        found = re.search(r"http://[\d.]+:(\d+)", self.log)
        assert found
        self.port = int(found[1])
        self.url = found[0]
        self._wait_until_it_serves()

    def _wait_for_startup(self) -> None:
        deadline = time.monotonic() + START_S
        while "startup complete" not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def _wait_until_it_serves(self) -> None:
        # It says that it runs a moment before it does. A signal that comes in between ends it without a drain.
        deadline = time.monotonic() + START_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=START_S) as peer:
                    peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    assert peer.recv(1), self.log
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.02)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Exit status."""
        return self.process.wait(seconds)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
