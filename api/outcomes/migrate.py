"""Bring the database to the schema of this code, however many replicas start at once, or tell whether it has it."""

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Engine, text

from api.outcomes.database import SchemaError, open_sync_engine

if TYPE_CHECKING:
    from alembic.config import Config

# Any constant will do, as long as every replica takes the same.
_LOCK = 0x656D6F74696F6E

UPGRADE = "the gateway makes and upgrades the tables when it starts: python -m api"

_WAL_ATTEMPTS, _WAL_PAUSE_S = 100, 0.05


def migrate(url: URL) -> None:
    """Upgrade to the newest revision in one transaction. Blocks: call it in a thread.

    Raises sqlalchemy.exc.SQLAlchemyError, sqlite3.Error or OSError when there is no database to be had, and SchemaError
    when it is newer than this code.
    """
    # Here, because it takes a quarter of a second, for which the gateway's start would wait.
    from alembic import command
    from alembic.util import CommandError

    config = _config()
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


def require_newest(url: URL) -> None:
    """Raise SchemaError unless the tables are those of this code. It only reads.

    Raises what migrate() raises as well.
    """
    # As in migrate().
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = open_sync_engine(url)
    try:
        with engine.connect().execution_options(reads_only=True) as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    newest, *older = (script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())
    if found in (None, *older):
        raise SchemaError(f"the tables are {'old' if found else 'not there'}; {UPGRADE}")
    if found != newest:
        raise SchemaError(f"the tables are newer than this program, which does not know their revision {found}")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


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
