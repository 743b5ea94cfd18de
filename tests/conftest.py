"""What several folders of tests share."""

import fcntl
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.postgres import PROGRAMS, PostgresServer

SAMPLES = Path(__file__).parents[1] / "api" / "samples"
MEMORY = Path("/dev/shm")

# Journals and databases wait for the disk at each record, which is most of some tests' time; memory does as well.
if MEMORY.is_dir():
    facts = os.statvfs(MEMORY)
    if not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize >= 2 * 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
# Lines of a command are not broken within the path of a temporary folder.
os.environ["COLUMNS"] = "250"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when TensorFlow and the BLAS libraries are imported: a worker for each core, and so a thread for each worker.
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """make_once(name, make): the folder that `make` filled, for whichever of the workers came first.

    Nobody may write to it afterwards.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run(name: str, make: Callable[[Path], object]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder, done = shared / name, shared / f"{name}.done"
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; a test that stops it starts it again."""
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    server = PostgresServer(PROGRAMS)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def one_face() -> bytes:
    return (SAMPLES / "one.jpg").read_bytes()


@pytest.fixture(scope="session")
def two_faces() -> bytes:
    return (SAMPLES / "two.jpg").read_bytes()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """An image as the bytes of a file."""

    def run(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        file = BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return run
