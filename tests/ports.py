"""Loopback ports for what cannot be given port 0: it is told its port before it listens, or keeps it over restarts."""

import itertools
import os
import socket

# Below Linux's ephemeral ports, from which the kernel could give a port away before it is used. A range for each of
# pytest-xdist's workers, and a start that differs between runs.
_FIRST, _RANGE, _WORKERS = 12_000, 1_000, 20
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_offsets = itertools.count(os.getpid() % _RANGE)


def free_port() -> int:
    """A port that nobody listens on, and that no other call in this run was given lately."""
    for _ in range(_RANGE):
        port = _FIRST + _worker * _RANGE + next(_offsets) % _RANGE
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise RuntimeError("no port is free")
