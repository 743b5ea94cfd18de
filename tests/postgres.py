"""A throw-away PostgreSQL server, for the tests and the drills, where Debian's package is installed."""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from tests.ports import free_port

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))


class PostgresServer:
    """A throw-away server on a loopback port, which stays the same over restarts."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # The server refuses to run as root.
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        # Not below pytest's folder, into which another user may not go.
        made = subprocess.check_output(
            [*self._user, "mktemp", "-d", "-p", os.environ.get("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())],
            text=True,
        )
        self._folder = Path(made.strip())
        self.port = free_port()
        self._run("initdb", "-U", "me", "--auth=trust", "--no-sync")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://me:secret@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """URL of a new, empty database."""
        name = f"db{uuid.uuid4().hex}"
        command = [str(self._programs / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "me", name]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return self.url(name)

    def start(self) -> None:
        options = f"-F -k {self._folder} -h 127.0.0.1 -p {self.port}"
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Like a crash: nobody is waited for."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        shutil.rmtree(self._folder)

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._user, str(self._programs / name), "-D", str(self._folder / "data"), *arguments]
        # A file, because the server keeps its end of a pipe open.
        with tempfile.TemporaryFile("w+") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd="/", timeout=60, check=False)
            log.seek(0)
            assert done.returncode == 0, log.read()
