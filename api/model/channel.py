"""The gRPC channel to one address of the model server: keepalive, reconnection, TLS."""

import json
from collections.abc import Callable
from pathlib import Path

import grpc

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # Connects again by itself, where the default waits for the next call; and balances over what only gRPC can look up.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # Calls are repeated by Replicas, which knows the other addresses.
    ("grpc.enable_retries", 0),
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
    # Channels to one target share their connections otherwise.
    ("grpc.use_local_subchannel_pool", 1),
)

OpenChannel = Callable[[str], grpc.aio.Channel]
"""Opens a channel to an address, within the running event loop. It connects when its state is asked for."""


def channel_opener(
    *,
    tls: bool,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    host: str | None,
    authority: str | None,
    proxy: bool,
) -> OpenChannel:
    """
    Args:
        ca_file: PEM of the authority to trust; None trusts gRPC's own list.
        cert_file, key_file: PEM of the certificate that we show, with its chain, and of its key; None shows none.
        host: what the server's certificate must be for; None: the address.
        authority: what requests say they are for, where the address was looked up.
        proxy: whether the proxy that environment variables name is in between.
    """
    # By default gRPC looks for a proxy even on the way to localhost.
    options: tuple[tuple[str, str | int], ...] = (*_OPTIONS, ("grpc.enable_http_proxy", int(proxy)))
    if authority:
        options = (*options, ("grpc.default_authority", authority))
    if not tls:
        return lambda address: grpc.aio.insecure_channel(address, options)
    if host:
        options = (*options, ("grpc.ssl_target_name_override", host))
    ca, key, cert = (file.read_bytes() if file else None for file in (ca_file, key_file, cert_file))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    return lambda address: grpc.aio.secure_channel(address, credentials, options)
