"""Whether the gRPC port is free, before the models load."""

import socket

from grpc import StatusCode

from serving.errors import ServingError


def require_free(host: str, port: int) -> None:
    """Refuse a port that is taken. gRPC binds it after the models have loaded, which takes seconds, and says no reason.

    Raises:
        ServingError: UNAVAILABLE where the port is taken or may not be bound.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            # Connections of a server that has just ended may linger in TIME_WAIT; that must not stop a restart.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        reason = error.strerror or error
        raise ServingError(f"cannot listen on {host}:{port}: {reason}", StatusCode.UNAVAILABLE) from error
