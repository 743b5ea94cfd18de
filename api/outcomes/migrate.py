"""Bring the database to the schema of this code, however many replicas start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, text

from api.outcomes.database import open_sync_engine

# Any constant will do, as long as every replica takes the same.
_LOCK = 0x656D6F74696F6E


def migrate(url: URL) -> None:
    """Upgrade to the newest revision in one transaction. Blocks: call it in a thread.

    Raises sqlalchemy.exc.SQLAlchemyError or OSError when the database cannot be reached, and
    alembic.util.CommandError when its schema is newer than this code.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = open_sync_engine(url)
    try:
        # On SQLite the transaction itself, begun IMMEDIATE, is the lock.
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
