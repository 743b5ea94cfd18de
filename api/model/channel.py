"""The gRPC channel to the model server: balancing, retries, keepalive, reconnection."""

import ipaddress
import json
from pathlib import Path

import grpc

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            # Every call we make can be repeated safely. The attempts fit well into the shortest sensible
            # deadline.
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # While most calls fail, retries only add load: they stop after about 50 failures, and two successes make
    # up for one.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
}

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # An untuned server answers pings more often than every 5 minutes with GOAWAY.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A restarted server or a replaced pod is found within about a second; by default it takes up to minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A batch of faces passes 4 MiB, the default; answers are a few kilobytes.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 16 * 2**20),
)


# Channels to one target share their connections otherwise.
_OWN_CONNECTIONS: tuple[tuple[str, str | int], ...] = (("grpc.use_local_subchannel_pool", 1),)


def check_target(target: str) -> None:
    """Raises ValueError for a list of addresses that gRPC would take for the name of one host, never to be found."""
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


def open_channel(target: str, *, tls: bool, ca_file: Path | None) -> grpc.aio.Channel:
    """Open one channel within the running event loop; it connects by itself at the first call.

    Neither connections nor the retry budget are shared with other channels to the same target. ca_file: PEM of the
    authority to trust; None trusts gRPC's own list.
    """
    options = _OPTIONS + _OWN_CONNECTIONS
    if not tls:
        return grpc.aio.insecure_channel(target, options)
    ca = ca_file.read_bytes() if ca_file else None
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca), options)
