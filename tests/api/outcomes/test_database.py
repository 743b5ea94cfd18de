import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.addresses import parse_url
from api.outcomes.database import open_sync_engine


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
