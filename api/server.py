"""The HTTP server: uvicorn's, with a pause between "not ready" and "no longer listening"."""

import logging
import math
import signal
from dataclasses import dataclass
from time import monotonic
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.settings import Settings

logger = logging.getLogger("api")

# What an answer takes beyond the time that a request has.
_SLACK_S = 2


@dataclass
class Drain:
    # Told to stop. The gateway still serves, but /readyz says no and connections are not kept alive.
    active: bool = False


class GatewayServer(uvicorn.Server):
    """SIGTERM begins the drain; when its time is over, or at another signal, the server stops as uvicorn's does.

    A load balancer learns only from its next look at /readyz that it should send nothing more: a server that closed its
    port at once would refuse what is still on its way.
    """

    def __init__(self, app: FastAPI, drain: Drain, settings: Settings) -> None:
        """
        Args:
            drain: the one that the application looks at.
        """
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
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
