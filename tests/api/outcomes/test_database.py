import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.outcomes.database import open_sync_engine, parse_url


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("mysql://u:hunter2@host/db", "mysql is none of sqlite, postgresql"),
        ("postgresql+asyncpg://u:hunter2@host/db", "none of"),
        ("outcomes.db", "not a URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file:outcomes.db?uri=true", "the path of a file"),
        ("postgresql://me:secret@hunter2@host/db", "percent-encode @ : / in user and password"),
        ("postgresql://me:secret@p:hunter2@host/db", "percent-encode @ : / in user and password"),
        ("postgresql://me/you:hunter2@host/db", "percent-encode @ : / in user and password"),
    ],
)
def test_a_database_that_we_cannot_use_is_refused(wrong: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_url(wrong)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_any_password_can_be_given() -> None:
    url = parse_url("postgresql://me%40work:%40%3A%2F%3F@[::1]:5433/db?sslmode=require")
    assert (url.username, url.password, url.host, url.port, url.database) == ("me@work", "@:/?", "::1", 5433, "db")


async def test_a_file_is_its_owners_alone(tmp_path: Path, open_store: Callable, make: Callable) -> None:
    file = tmp_path / "new" / "outcomes.db"
    before = os.umask(0o022)
    try:
        async with open_store(database_url=f"sqlite:///{file}") as outcomes:
            prediction = make()
            outcomes.record(prediction)
            await outcomes.written(prediction.id)
            modes = {path.name: path.stat().st_mode & 0o777 for path in (file.parent, *file.parent.iterdir())}
    finally:
        os.umask(before)
    assert modes.pop("new") == 0o700
    assert {"outcomes.db", "outcomes.db-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_a_server_that_vanishes_is_noticed(postgres: Any) -> None:
    engine = open_sync_engine(parse_url(postgres.create_database()))
    with engine.connect() as connection:
        given = connection.connection.dbapi_connection.info.get_parameters()
    engine.dispose()
    assert (given["keepalives_idle"], given["keepalives_interval"], given["keepalives_count"]) == ("10", "5", "3")
    assert given["tcp_user_timeout"] == "15000"
