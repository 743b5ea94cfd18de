"""The outermost ASGI middleware: a request's id, its access log line and its count."""

import asyncio
import logging
import re
import uuid
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import quote

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ShuttingDown
from api.http.callers import CALLER
from api.http.problems import problem_response
from api.http.routes import PREFIX
from api.observe.metrics import Metrics
from api.observe.request_id import request_id
from api.observe.tracing import exemplar
from api.protocol import CLIENT_GONE
from api.server import Drain

access_log = logging.getLogger("api.access")

HEADER = "X-Request-ID"

# What a client may choose ends up in our logs and in gRPC metadata: printable ASCII without space, bounded.
_SANE_ID = re.compile(r"[!-~]{1,128}")

# nginx's status for a client that went away; it is only logged and counted, because nobody is there to read it.
_CLIENT_CLOSED_REQUEST = 499


# A WebSocket that ended without a word.
_ABNORMAL = 1006


def _identity(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Outermost: whatever happens inside, the answer has a request id, is logged and counted.

    While the gateway drains, it also says that the connection will not be kept alive.
    """

    app: ASGIApp
    metrics: Metrics
    drain: Drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._stream(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        identity = _identity(scope)
        token = request_id.set(identity)
        trace.get_current_span().set_attribute("emotion.request_id", identity)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = identity
                if self.drain.active:
                    # A client that sent its next request just when the connection is closed would see it fail.
                    headers["Connection"] = "close"
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_CLOSED_REQUEST
        except (Exception, asyncio.CancelledError) as error:
            if scope.get("state", {}).get(CLIENT_GONE):
                # There is nobody to answer, and the work was cancelled for that.
                status = _CLIENT_CLOSED_REQUEST
                return
            response = self._response(error, begun=status is not None)
            await response(scope, receive, send_with_id)
        finally:
            self._finish(scope, status or _CLIENT_CLOSED_REQUEST, perf_counter() - start)
            self.metrics.in_flight.dec()
            request_id.reset(token)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for a WebSocket; its status is the code that it was closed with, or that of a refused handshake."""
        start, identity = perf_counter(), _identity(scope)
        token = request_id.set(identity)
        status = _ABNORMAL

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                MutableHeaders(scope=message)[HEADER] = identity
                status = message.get("status", status)
            elif message["type"] == "websocket.close":
                status = message.get("code", status)
            await send(message)

        async def receive_noted() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "websocket.disconnect":
                status = message.get("code", status)
            return message

        try:
            await self.app(scope, receive_noted, send_with_id)
        finally:
            self._finish(scope, status, perf_counter() - start)
            request_id.reset(token)

    def _response(self, error: BaseException, *, begun: bool) -> Response:
        """What to answer in place of what failed; raises the error where there is nothing to answer."""
        if isinstance(error, Exception):
            response = problem_response(error, self.metrics)
            if begun:
                # Half an answer is out already: only closing the connection tells the client that it is not whole.
                raise error
            return response
        # It was cancelled; by the server, of what is left when its time to stop is over.
        if begun or not self.drain.active:
            raise error
        return problem_response(ShuttingDown("The gateway had to stop before this request was done."), self.metrics)

    def _finish(self, scope: Scope, status: int, seconds: float) -> None:
        # /v1/predict and its alias /predict are one route.
        route = getattr(scope.get("route"), "path", "unmatched").removeprefix(PREFIX)
        # Quoted again: a decoded line feed would forge a line of the log.
        path = quote(scope["path"])
        self.metrics.requests.labels(route, str(status)).inc()
        method = scope.get("method", "WS")
        if method != "WS":
            # A stream lasts as long as somebody looks.
            self.metrics.request_seconds.labels(route).observe(seconds, exemplar())
        fields = {"method": method, "path": path, "status": status, "duration_ms": round(seconds * 1000, 1)}
        if CALLER in scope:
            fields["key"] = scope[CALLER]
        access_log.info("%s %s %d %.1f ms", method, path, status, seconds * 1000, extra={"fields": fields})
