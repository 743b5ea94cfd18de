"""Holding the gRPC port while the models load."""

import socket

from grpc import StatusCode

from serving.errors import ServingError


def reserve(host: str, port: int) -> socket.socket:
    """Bind `port` without listening, so that nobody else takes it and callers are still refused.

    gRPC itself can only bind and listen in one go: calls would then hang until the models are loaded, where a refused
    connection tells the caller at once.

    Returns:
        The socket, to be closed just before gRPC binds. `getsockname()[1]` is the port.

    Raises:
        ServingError: UNAVAILABLE where the port is taken or may not be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        held = socket.socket(family, kind, protocol)
        try:
            # Connections of a server that has just ended may linger in TIME_WAIT; that must not stop a restart.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(address)
        except OSError:
            held.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise ServingError(f"cannot listen on {host}:{port}: {reason}", StatusCode.UNAVAILABLE) from error
    return held
