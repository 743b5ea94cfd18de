"""What several folders of tests share."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.postgres import PROGRAMS, PostgresServer

SAMPLES = Path(__file__).parents[1] / "api" / "samples"


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
