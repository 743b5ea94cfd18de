"""Addresses of databases as operators write them, and what is wrong with one."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


def parse_url(text: str) -> URL:
    """A database URL with the driver that we use.

    Raises:
        ValueError: any other; without the password.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError("not a URL such as sqlite:///outcomes.db or postgresql://user:password@host/name") from None
    except ValueError:
        # It quotes what it could not read as a port number, which may be the end of a password.
        raise _misread() from None
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None or url.drivername not in (url.get_backend_name(), driver):
        raise ValueError(f"{url.drivername} is none of {', '.join((*_DRIVERS, *_DRIVERS.values()))}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("SQLite needs a file: what is in memory would not survive a restart")
    if url.get_backend_name() == "sqlite" and (url.database or "").startswith("file:"):
        raise ValueError("SQLite needs the path of a file, not a file: URI")
    if url.get_backend_name() == "postgresql" and _has_part_of_a_password(url):
        raise _misread()
    return url.set(drivername=driver)


def _has_part_of_a_password(url: URL) -> bool:
    """True when what follows an unescaped @ or / of the user or password was read as something that we would print."""
    rest = URL.create(url.drivername, host=url.host, database=url.database, query=url.query).render_as_string()
    return "@" in rest or "%40" in rest or ":" in (url.database or "")


def _misread() -> ValueError:
    return ValueError("not a database URL: percent-encode @ : / in user and password")
