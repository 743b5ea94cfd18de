"""The HTTP server: uvicorn's, with a pause between "not ready" and "no longer listening"."""

import logging
import math
import resource
import signal
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.observe.metrics import Metrics
from api.protocol import Connections, GatewayProtocol
from api.settings import Settings
from api.websocket import StreamProtocol

logger = logging.getLogger("api")

# What an answer takes beyond the time that a request has.
_SLACK_S = 2

_MAX_DESCRIPTORS = 65_536
# What a process has open besides connections of clients: libraries, the database, model servers, log files.
_OTHER_DESCRIPTORS = 128


@dataclass
class Drain:
    # Told to stop. The gateway still serves, but /readyz says no and connections are not kept alive.
    active: bool = False


class GatewayServer(uvicorn.Server):
    """SIGTERM begins the drain; when its time is over, or at another signal, the server stops as uvicorn's does.

    A load balancer learns only from its next look at /readyz that it should send nothing more: a server that closed its
    port at once would refuse what is still on its way.
    """

    def __init__(self, app: FastAPI, drain: Drain, settings: Settings, metrics: Metrics) -> None:
        """
        Args:
            drain: the one that the application looks at.
            metrics: those that the application shows.
        """
        limit = connection_limit(settings.max_connections)
        shared = Connections(metrics, limit, settings.head_timeout_s)
        metrics.connections_limit.set(limit)
        metrics.connections.set_function(lambda: len(self.server_state.connections))
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                http=partial(GatewayProtocol, shared=shared),  # type: ignore[arg-type]
                ws=StreamProtocol,
                ws_max_size=settings.stream_frame_bytes,
                # Frames are compressed already.
                ws_per_message_deflate=False,
                timeout_keep_alive=settings.keep_alive_s,
                # A client that never finishes its upload must not hold the process until it is killed.
                timeout_graceful_shutdown=math.ceil(settings.request_timeout_s) + _SLACK_S,
            )
        )
        self._drain = drain
        self._drain_s = settings.drain_s
        self._stop_at: float | None = None
        self._announced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        draining, self._drain.active = self._drain.active, True
        # No other signal: who presses Ctrl-C has no load balancer.
        if self._drain_s and sig == signal.SIGTERM and self.started and not draining:
            self._stop_at = monotonic() + self._drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None:
            # Not by the signal handler, which may interrupt the logging of another line.
            if not self._announced:
                logger.info("told to stop: not ready any more, and the port closes in %g s", self._drain_s)
                self._announced = True
            if monotonic() >= self._stop_at:
                self.should_exit = True
        return await super().on_tick(counter)


def connection_limit(wanted: int) -> int:
    """How many connections the process may have, after its limit of descriptors was raised as far as that takes.

    Without descriptors a process can accept nothing, nor open its database or a log.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft < highest and soft < wanted + _OTHER_DESCRIPTORS:
        soft = min(highest, wanted + _OTHER_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limit = max(1, min(wanted, soft - _OTHER_DESCRIPTORS))
    if limit < wanted:
        logger.warning("%d descriptors leave room for %d connections, not for %d", soft, limit, wanted)
    return limit
