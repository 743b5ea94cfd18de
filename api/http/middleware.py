"""Pure ASGI middleware: the request's id, its access log line and count, and the limit of its body."""

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from time import perf_counter
from urllib.parse import quote

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ShuttingDown, TooLarge
from api.http.problems import problem_response
from api.observe.metrics import Metrics
from api.observe.request_id import request_id
from api.server import Drain

access_log = logging.getLogger("api.access")

HEADER = "X-Request-ID"

# What a client may choose ends up in our logs and in gRPC metadata: printable ASCII without space, bounded.
_SANE_ID = re.compile(r"[!-~]{1,128}")

# nginx's status for a client that went away; it is only logged and counted, for nobody is there to read it.
_CLIENT_CLOSED_REQUEST = 499


class RequestContext:
    """Outermost: whatever happens inside, the answer has a request id, is logged and counted.

    While the gateway drains, it also says that the connection will not be kept alive.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, drain: Drain) -> None:
        self._app = app
        self._metrics = metrics
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._metrics.in_flight():
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = perf_counter()
        given = Headers(scope=scope).get(HEADER, "")
        token = request_id.set(given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex)
        trace.get_current_span().set_attribute("emotion.request_id", request_id.get() or "")
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id.get() or ""
                if self._drain.active:
                    # A client that sent its next request just when the connection is closed would see it fail.
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            # The server's, of what is left when its time to stop is over.
            if status is not None or not self._drain.active:
                raise
            error = ShuttingDown("The gateway had to stop before this request was done.")
            await problem_response(error, self._metrics)(scope, receive, send_with_id)
        except Exception as error:
            response = problem_response(error, self._metrics)
            if status is not None:
                # Half an answer is out already: only closing the connection tells the client that it is not
                # whole.
                raise
            await response(scope, receive, send_with_id)
        finally:
            self._finish(scope, status or _CLIENT_CLOSED_REQUEST, perf_counter() - start)
            request_id.reset(token)

    def _finish(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # Quoted again: a decoded line feed would forge a line of the log.
        path = quote(scope["path"])
        self._metrics.count_request(route, status, seconds)
        access_log.info(
            "%s %s %d %.1f ms",
            scope["method"],
            path,
            status,
            seconds * 1000,
            extra={
                "fields": {
                    "method": scope["method"],
                    "path": path,
                    "status": status,
                    "duration_ms": round(seconds * 1000, 1),
                }
            },
        )


class BodyLimit:
    """Refuses a body that is too large, at once when Content-Length says so, else as soon as it is.

    Frameworks limit form fields, but write files of any size to disk.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        """limit_of: the limit in bytes for a path."""
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length) if length.isdecimal() else None
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            if announced is not None and announced > limit:
                raise TooLarge("The body", unit="bytes", limit=limit, size=announced)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLarge("The body", unit="bytes", limit=limit, size=None)
            return message

        await self._app(scope, receive_limited, send)
