"""The gRPC channel to the model server: balancing, retries, keepalive, reconnection."""

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


def open_channel(target: str, *, tls: bool, ca_file: Path | None, proxy: bool) -> grpc.aio.Channel:
    """Open one channel within the running event loop; it connects by itself at the first call.

    Neither connections nor the retry budget are shared with other channels to the same target.

    Args:
        ca_file: PEM of the authority to trust; None trusts gRPC's own list.
        proxy: whether the proxy that environment variables name is in between.
    """
    # By default gRPC looks for a proxy even on the way to localhost.
    options = (*_OPTIONS, *_OWN_CONNECTIONS, ("grpc.enable_http_proxy", int(proxy)))
    if not tls:
        return grpc.aio.insecure_channel(target, options)
    ca = ca_file.read_bytes() if ca_file else None
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca), options)
