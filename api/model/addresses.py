"""The addresses behind a gRPC target."""

import asyncio
import ipaddress
import socket

# What gRPC must look up by itself, and balances over: sockets of files, service meshes.
_GRPC_ONLY = ("unix", "unix-abstract", "xds")


class Addresses:
    """Each address is a gRPC target of its own, such as ipv4:10.0.0.1:8500."""

    def __init__(self, target: str, *, proxy: bool) -> None:
        """
        Args:
            target: one that wire.address.check_target() lets pass.
            proxy: whether a proxy is in between, which looks names up itself.
        """
        self._known: tuple[str, ...] = ()
        self._host, self._port = "", 0
        scheme, _, rest = target.partition(":")
        if scheme in ("ipv4", "ipv6"):
            self._known = tuple(f"{scheme}:{address}" for address in rest.split(","))
            return
        # A target that names a DNS server, too, is gRPC's as well: the system's resolver asks its own.
        if scheme in _GRPC_ONLY or (scheme == "dns" and rest.startswith("//") and not rest.startswith("///")) or proxy:
            self._known = (target,)
            return
        name = rest.removeprefix("///") if scheme == "dns" else target
        host, _, port = name.rpartition(":")
        if _is_address(host):
            self._known = (target,)
        else:
            self._host, self._port = host, int(port)

    @property
    def change(self) -> bool:
        """Whether look_up() may find others later."""
        return not self._known

    @property
    def host(self) -> str | None:
        """The name that they have in common, which certificates are for; None where each is for its own address."""
        return self._host or None

    @property
    def authority(self) -> str | None:
        """`host` with its port."""
        return f"{self._host}:{self._port}" if self._host else None

    async def look_up(self) -> tuple[str, ...]:
        """
        Raises:
            OSError: the name is not known now, or nobody could be asked.
        """
        if self._known:
            return self._known
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(_target(family, address[0], self._port) for family, *_, address in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _target(family: int, address: object, port: int) -> str:
    if family == socket.AF_INET6:
        # The percent sign of a zone would begin an escape.
        return f"ipv6:[{str(address).replace('%', '%25')}]:{port}"
    return f"ipv4:{address}:{port}"
