"""What several folders of tests share."""

from collections.abc import Iterator

import pytest

from tests.postgres import PROGRAMS, PostgresServer


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
