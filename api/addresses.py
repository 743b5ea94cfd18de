"""Addresses as operators write them, of model servers and databases, and what is wrong with one."""

import ipaddress

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


def check_target(target: str) -> None:
    """
    Raises:
        ValueError: a list of addresses that gRPC would take for the name of one host, never to be found.
    """
    scheme, _, addresses = target.partition(":")
    if scheme not in ("ipv4", "ipv6"):
        if "," in target:
            raise ValueError(
                "several model servers are ipv4:10.0.0.1:8500,10.0.0.2:8500, or one name that has all their addresses: "
                "dns:///serving:8500"
            )
        return
    for address in addresses.split(","):
        host, _, port = address.rpartition(":")
        try:
            family = f"ipv{ipaddress.ip_address(host.removeprefix('[').removesuffix(']')).version}"
        except ValueError:
            family = ""
        if family != scheme or not port.isdecimal():
            wanted = "IPv4 address with a port" if scheme == "ipv4" else "IPv6 address with a port: [fd00::1]:8500"
            raise ValueError(f"{address!r} is not an {wanted}")


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
