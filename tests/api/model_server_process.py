"""`python -m serving` as a process of its own."""

import os
import signal
import subprocess
import sys

from tests.ports import free_port


class ModelServer:
    """`python -m serving` as a process; `port` stays the same over restarts."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "serving", "--host=127.0.0.1", f"--port={self.port}", *self._flags]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("serving on "):
                return
        raise RuntimeError(f"the model server ended with {self._process.wait()}")

    def freeze(self) -> None:
        """It keeps its connections and calls, and answers none of them."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)
        self._process.wait(30)
        assert self._process.stdout
        self._process.stdout.close()
