"""Bring the database to the schema of this code, however many replicas start at once."""

import sqlite3
import time
from pathlib import Path

from sqlalchemy import URL, Engine, text

from api.outcomes.database import SchemaError, open_sync_engine

# Any constant will do, as long as every replica takes the same.
_LOCK = 0x656D6F74696F6E

_WAL_ATTEMPTS, _WAL_PAUSE_S = 100, 0.05


def migrate(url: URL) -> None:
    """Upgrade to the newest revision in one transaction. Blocks: call it in a thread.

    Raises sqlalchemy.exc.SQLAlchemyError, sqlite3.Error or OSError when there is no database to be had, and SchemaError
    when it is newer than this code.
    """
    # Here, for it takes a quarter of a second, which the gateway's start would wait for.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = open_sync_engine(url)
    try:
        if engine.dialect.name == "sqlite":
            _use_write_ahead_log(engine)
        # On SQLite the transaction itself, begun IMMEDIATE, is the lock.
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise SchemaError(f"the tables are newer than this program: {error}") from error
    finally:
        engine.dispose()


def _use_write_ahead_log(engine: Engine) -> None:
    """With it a report does not hold up the writer. The file remembers it."""
    connection = engine.raw_connection()
    try:
        for attempt in range(1, _WAL_ATTEMPTS + 1):
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # Two processes that switch at once: SQLite refuses one of them without waiting.
                if attempt == _WAL_ATTEMPTS:
                    raise TimeoutError(f"the file stays locked: {error}") from error
                time.sleep(_WAL_PAUSE_S)
    finally:
        connection.close()
