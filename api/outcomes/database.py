"""Connections to the outcome database: a SQLite file or a PostgreSQL server."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# A writer waits this long for another process's lock before it gives up and tries again later.
_LOCK_WAIT_S = 5
_STATEMENT_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 5
# A server whose host is gone answers nothing: give up after 25 s of silence, or 15 s with data unacknowledged.
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class SchemaError(Exception):
    """The database has tables that this code does not know."""


def open_engine(
    url: URL, *, statement_timeout_s: int = _STATEMENT_TIMEOUT_S, connections: int | None = None
) -> AsyncEngine:
    """For the event loop. It connects when it is first used; dispose of it at the end.

    Args:
        statement_timeout_s: after which PostgreSQL gives a statement up.
        connections: at most; SQLAlchemy's default when None.
    """
    pool = {} if connections is None else {"pool_size": connections, "max_overflow": 0}
    # What fails is logged with its statement; its parameters are people's.
    engine = create_async_engine(url, hide_parameters=True, **_options(url, statement_timeout_s), **pool)
    _prepare(engine.sync_engine)
    return engine


def open_sync_engine(url: URL) -> Engine:
    """The same database for a thread of its own."""
    drivername = "sqlite" if url.get_backend_name() == "sqlite" else url.drivername
    engine = create_engine(url.set(drivername=drivername), hide_parameters=True, **_options(url))
    _prepare(engine)
    return engine


def _options(url: URL, statement_timeout_s: int = _STATEMENT_TIMEOUT_S) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _LOCK_WAIT_S}}
    milliseconds = 1000 * statement_timeout_s
    return {
        "pool_pre_ping": True,
        "pool_timeout": _CONNECT_TIMEOUT_S,
        "connect_args": {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            **_KEEPALIVES,
            "options": f"-c statement_timeout={milliseconds} -c timezone=UTC",
        },
    }


def _prepare(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    file = Path(engine.url.database or "")

    @event.listens_for(engine, "do_connect")
    def make_file(*_: Any) -> None:
        # For its owner alone: outcomes are nobody else's business on a shared machine. SQLite gives the files beside it
        # the same mode.
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # The driver would begin transactions by itself, and too late: DDL and SELECT would stand outside of them.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("synchronous = NORMAL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later cannot wait for the lock; it would fail at once.
        kind = "DEFERRED" if connection.get_execution_options().get("reads_only") else "IMMEDIATE"
        connection.exec_driver_sql(f"BEGIN {kind}")
