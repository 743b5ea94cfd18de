"""Connections to the outcome database: a SQLite file or a PostgreSQL server."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# A writer waits this long for another process's lock before it gives up and tries again later.
_LOCK_WAIT_S = 5
_STATEMENT_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 5

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


def parse_url(text: str) -> URL:
    """A database URL with the driver that we use. Raises ValueError, without the password, for any other."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError("not a URL such as sqlite:///outcomes.db or postgresql://user:password@host/name") from error
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None or url.drivername not in (url.get_backend_name(), driver):
        raise ValueError(f"{url.drivername} is none of {', '.join((*_DRIVERS, *_DRIVERS.values()))}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("SQLite needs a file: what is in memory would not survive a restart")
    return url.set(drivername=driver)


def open_engine(url: URL) -> AsyncEngine:
    """For the event loop. It connects when it is first used; dispose of it at the end."""
    engine = create_async_engine(url, **_options(url))
    _prepare(engine.sync_engine)
    return engine


def open_sync_engine(url: URL) -> Engine:
    """The same database for a thread of its own."""
    drivername = "sqlite" if url.get_backend_name() == "sqlite" else url.drivername
    engine = create_engine(url.set(drivername=drivername), **_options(url))
    _prepare(engine)
    return engine


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _LOCK_WAIT_S}}
    milliseconds = 1000 * _STATEMENT_TIMEOUT_S
    return {
        "pool_pre_ping": True,
        "pool_timeout": _CONNECT_TIMEOUT_S,
        "connect_args": {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "options": f"-c statement_timeout={milliseconds} -c timezone=UTC",
        },
    }


def _prepare(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    file = Path(engine.url.database or "")

    @event.listens_for(engine, "do_connect")
    def make_folder(*_: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)

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
