"""Addresses of model servers as people write them, and what is wrong with one."""

import ipaddress
import re

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%\w+)?\]")
# Of those that gRPC knows, the ones without a port.
_WITHOUT_PORT = ("unix", "unix-abstract", "xds")


def check_target(target: str) -> None:
    """
    Raises:
        ValueError: gRPC would take it for the name of a host that does not exist, or for another port; says the right
            form.
    """
    scheme, _, rest = target.partition(":")
    if scheme in _WITHOUT_PORT and rest:
        return
    if scheme in ("ipv4", "ipv6"):
        for address in rest.split(","):
            _check_address(scheme, address)
        return
    name = target
    if scheme == "dns":
        name = rest
        if rest.startswith("//"):
            server, slash, name = rest[2:].partition("/")
            if not slash:
                raise ValueError(f"{target!r} names a DNS server and nothing to ask it for; write dns:///{server}")
    elif rest.startswith("//"):
        host = rest[2:].partition("/")[0]
        raise ValueError(f"{target!r} is a URL, and gRPC takes none; write {host if ':' in host else host + ':8500'}")
    if "," in name:
        raise ValueError(
            "several model servers are ipv4:10.0.0.1:8500,10.0.0.2:8500, or one name that has all their addresses: "
            "dns:///serving:8500"
        )
    _check_name(name)


def _check_name(name: str) -> None:
    host, colon, port = name.rpartition(":")
    if not colon or name.endswith("]"):
        raise ValueError(f"{name!r} has no port; write {name}:8500")
    if not host:
        raise ValueError(f"{name!r} has no host; write localhost:{port}")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"{name!r} has more than one colon; an IPv6 address with a port is [fd00::1]:8500")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{name!r} is not host:port, such as localhost:8500")
    _check_port(name, port)


def _check_address(scheme: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        family = f"ipv{ipaddress.ip_address(host.removeprefix('[').removesuffix(']')).version}"
    except ValueError:
        family = ""
    if family != scheme:
        wanted = "IPv4 address with a port" if scheme == "ipv4" else "IPv6 address with a port: [fd00::1]:8500"
        raise ValueError(f"{address!r} is not an {wanted}")
    _check_port(address, port)


def _check_port(address: str, port: str) -> None:
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 2**16):
        raise ValueError(f"{address!r} has no port from 1 to 65535, such as 8500, after its last colon")
