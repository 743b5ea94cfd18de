"""HTTP/1.1 on one connection: uvicorn's protocol, with limits on what a peer may send before a request is one.

Whatever lies below the application is here: how long and how large a head may be, how many connections there are, what
becomes of a connection whose peer is silent, slow, gone or still sending.
"""

import asyncio
import json
import logging
from asyncio import Transport
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.errors import BadRequest, HeadTimeout, HeadTooLarge, ServiceError, TooManyConnections, UriTooLong
from api.observe.metrics import Metrics

logger = logging.getLogger("api")

CLIENT_GONE = "client_gone"
"""Key of a request's state, true once its peer has closed the connection; the request's task is cancelled then."""

MAX_HEAD_BYTES = 32 * 2**10
"""Of all header fields of a request."""
MAX_URI_BYTES = 2**16 - 1
"""Of path and query."""
MAX_FIELDS = 256
"""Header fields of a request: each is looked through whenever one is looked for."""

MAX_PIPELINED = 64
"""Requests of a connection that wait for the answer to one before them."""

# A connection over the cap may still ask these, so that a crowd does not look like a dead process.
_ALWAYS_SERVED = (b"/healthz", b"/readyz", b"/metrics")
# Requests that begin in one pass of the event loop. Each takes it for a millisecond or more, and what arrives for
# /healthz meanwhile is looked at in the next pass: with 200 busy connections that would be a second.
_BEGIN_PER_PASS = 4
_SPARE_CONNECTIONS = 64
# What is still on its way when an answer was early is read and thrown away, so far and so long: a peer that writes
# before it reads would get a reset in place of the answer.
_LINGER_S = 10.0
_LINGER_BYTES = 64 * 2**20
# How long a peer may leave the answer in our buffers.
_WRITE_S = 30.0
_LOG_EVERY_S = 10.0


class _Turns:
    """Requests that may begin, in the order of their arrival."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._called = False

    def add(self, begin: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._waiting.append(begin)
        self._call_soon(loop)

    def _call_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._called:
            self._called = True
            loop.call_soon(self._begin_some, loop)

    def _begin_some(self, loop: asyncio.AbstractEventLoop) -> None:
        self._called = False
        for _ in range(min(_BEGIN_PER_PASS, len(self._waiting))):
            self._waiting.popleft()()
        self._call_soon(loop)


@dataclass
class Connections:
    """What all connections of a process share.

    Args:
        limit: how many there may be.
        head_s: seconds that a head may take, from the connection or from its first byte.
    """

    metrics: Metrics
    limit: int
    head_s: float
    # Those that have sent nothing of a request, the longest idle first.
    idle: "OrderedDict[GatewayProtocol, None]" = field(default_factory=OrderedDict)
    turns: _Turns = field(default_factory=_Turns)
    _logged: float = -_LOG_EVERY_S

    def refused(self) -> None:
        """Say that there are too many, now and then."""
        now = monotonic()
        if now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            logger.warning("%d connections are open, all that may be; new ones get 503", self.limit)


class _GentleTransport:
    """The part of a transport that a request's answer uses; closing goes by way of the protocol."""

    def __init__(self, protocol: "GatewayProtocol", transport: Transport) -> None:
        self._protocol = protocol
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        self._protocol.close_gently()


class GatewayProtocol(HttpToolsProtocol):
    """One connection.

    - A head over MAX_HEAD_BYTES or MAX_FIELDS is a 431, a URI over MAX_URI_BYTES a 414, one that takes too long a 408,
      and what is no HTTP a 400: problem+json, and the connection is closed.
    - A connection over the limit takes the place of the one that is idle longest; where none is idle, it gets a 503.
    - A peer that goes away while its request is worked on cancels that work.
    - An answer before the request was read whole reaches its peer: the rest is read and thrown away, within bounds.
    - Requests begin a few at a time, and probes at once, so that no crowd makes a probe wait.
    - An offer to upgrade to anything but a WebSocket is passed over (RFC 9110, section 7.8), and the body is read.
    """

    _upgrades: ClassVar[frozenset[bytes]] = frozenset((b"upgrade", b"http2-settings"))

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        shared: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._shared = shared
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        # Of the head that is arriving; and, behind a body, since the last of it: trailers may not be longer.
        self._head_bytes = 0
        self._passing_over = False
        self._over_limit = False
        self._lingering = False
        self._discarded = 0
        # Whose turn it is; with pipelining the newest one, which is uvicorn's `cycle`, waits behind it.
        self._running: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None
        self._postponed: ServiceError | None = None

    # The connection.

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._shared.limit:
            if self._shared.idle:
                oldest, _ = self._shared.idle.popitem(last=False)
                oldest.transport.close()
            else:
                self._over_limit = True
                self._shared.refused()
                if len(self.connections) > self._shared.limit + _SPARE_CONNECTIONS:
                    self._refuse(TooManyConnections("This gateway has as many connections as it may have."))
                    return
        self._shared.idle[self] = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(0, None)
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._shared.idle.pop(self, None)
        self.pipeline.clear()
        super().connection_lost(exc)
        self._give_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(_WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def close_gently(self) -> None:
        """Close, after what is written was sent and, within bounds, what still arrives was read."""
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not self.transport.is_closing():
            self._linger()
        else:
            self._close()

    def _close(self) -> None:
        self.transport.close()
        # A peer that does not read what is still buffered would keep the connection for good.
        self._set_timer(_WRITE_S, self.transport.abort)

    def _linger(self) -> None:
        self._lingering = True
        self._discarded = 0
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._set_timer(_LINGER_S, self._close)

    def _give_up(self) -> None:
        """End the work on a request that nobody waits for."""
        running = self._running
        if running is not None and self._task is not None and not running.response_complete:
            running.disconnected = True
            running.scope["state"][CLIENT_GONE] = True
            self._task.cancel()

    def _set_timer(self, seconds: float, then: Callable[[], object] | None) -> None:
        """One at a time, for what the connection waits for; None: for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, then) if then else None

    def _expect_head(self) -> None:
        self._set_timer(self._shared.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._head_bytes:
            seconds = self._shared.head_s
            self._refuse(HeadTimeout(f"The head of the request did not arrive within {seconds:g} s.", limit_s=seconds))
        else:
            self._close()

    # What arrives.

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._throw_away(len(data))
            return
        if self.transport.is_closing() or self._postponed:
            return
        if self._in_head and not self._head_bytes:
            self._shared.idle.pop(self, None)
            self._unset_keepalive_if_required()
            self._expect_head()
        self._head_bytes += len(data)
        if not self._in_head and self.cycle.response_complete:
            # An early answer on a connection that is kept.
            self._throw_away(len(data))
        self._feed(data)
        if self._head_bytes > MAX_HEAD_BYTES + MAX_URI_BYTES and not self.transport.is_closing():
            self._refuse(_uri_too_long() if len(self.url) > MAX_URI_BYTES else _head_too_large())

    def _throw_away(self, count: int) -> None:
        self._discarded += count
        if self._discarded > _LINGER_BYTES:
            self._close()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._set_timer(0, None)
                self.handle_websocket_upgrade()
            else:
                self._pass_over_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            refused = cause.error if isinstance(cause, _Refused) else BadRequest("The request's target is not a URI.")
            self._refuse(refused)
        except httptools.HttpParserError as error:
            self._refuse(BadRequest(f"This is not HTTP/1.1: {error}."))

    def _pass_over_upgrade(self, rest: bytes) -> None:
        method = self.scope["method"].encode()
        if method == b"CONNECT":
            self._refuse(BadRequest("CONNECT is not served."))
            return
        lines = [b"%s %s HTTP/1.1" % (method, self.url)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in self._upgrades)
            if name not in self._upgrades and value:
                lines.append(b"%s: %s" % (name, value))
        self._passing_over = False
        self._in_head = True
        # The parser that has seen the offer takes whatever follows for another protocol.
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join([*lines, b"", b""]))
        if rest and not self.transport.is_closing():
            self._feed(rest)

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        # What arrived of it came with the request before.
        self._head_bytes = max(1, self._head_bytes)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URI_BYTES:
            raise _Refused(_uri_too_long())

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes behind a chunked body would be taken for a field of the head, which has been acted on.
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > MAX_FIELDS:
                raise _Refused(_too_many_fields())

    def on_headers_complete(self) -> None:
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            raise _Refused(_head_too_large())
        self._in_head = False
        self._head_bytes = 0
        self._discarded = 0
        self._set_timer(0, None)
        if self.parser.should_upgrade() and not self._should_upgrade():
            # uvicorn would begin the request without its body.
            self.scope["method"] = self.parser.get_method().decode("ascii")
            self._passing_over = True
            return
        if self._over_limit and not self.url.startswith(_ALWAYS_SERVED):
            raise _Refused(TooManyConnections("This gateway has as many connections as it may have."))
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused(BadRequest(f"More than {MAX_PIPELINED} requests came before the answer to the first."))
        super().on_headers_complete()
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            self.cycle.transport = _GentleTransport(self, self.transport)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._passing_over:
            return
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0
        if self.cycle is not None:
            # Where the answer was early, uvicorn leaves it as it was.
            self.cycle.more_body = False
            if self.cycle.response_complete:
                self._rest()

    # The answer.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running, self._task = cycle, None

        def begin() -> None:
            if cycle.disconnected or self.transport.is_closing():
                # Its peer went away while it waited for its turn.
                return
            self._task = self.loop.create_task(cycle.run_asgi(app))
            self._task.add_done_callback(self.tasks.discard)
            self.tasks.add(self._task)

        if cycle.scope["path"].encode().startswith(_ALWAYS_SERVED):
            begin()
        else:
            self._shared.turns.add(begin, self.loop)

    def _rest(self) -> None:
        """Between two requests."""
        if self.transport.is_closing() or self._lingering:
            return
        self._unset_keepalive_if_required()
        self._set_timer(self.timeout_keep_alive, self._close)
        self._shared.idle[self] = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if self._postponed:
            self._refuse(self._postponed)
        elif not self.cycle.response_complete or self.transport.is_closing() or self._lingering:
            return
        elif self.cycle.more_body:
            # What is still on its way arrives within these bounds, or the connection is closed.
            self._set_timer(_LINGER_S, self._close)
        elif self._head_bytes:
            self._expect_head()
        else:
            self._rest()

    def _refuse(self, error: ServiceError) -> None:
        """Answer a request that never becomes one, and close."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                # The one before it is still worked on, and has its answer first.
                self._postponed = error
                return
            # The body of this very request is broken.
            self._give_up()
            if cycle.response_started:
                self._close()
                return
        self._shared.metrics.errors.labels(error.slug).inc()
        body = json.dumps(error.problem()).encode()
        fields = {
            **dict(self.server_state.default_headers),
            b"content-type": b"application/problem+json",
            b"content-length": b"%d" % len(body),
            b"connection": b"close",
            **{name.lower().encode(): value.encode() for name, value in error.headers.items()},
        }
        head = b"".join(b"%s: %s\r\n" % field for field in fields.items())
        self.transport.write(STATUS_LINE[error.status] + head + b"\r\n" + body)
        self._linger()


class _Refused(Exception):  # noqa: N818 - it ends the parsing of a head, and is no error of ours
    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.detail)
        self.error = error


def _uri_too_long() -> ServiceError:
    detail = f"Path and query have more bytes than allowed; the limit is {MAX_URI_BYTES:,} bytes."
    return UriTooLong(detail, limit=MAX_URI_BYTES, unit="bytes")


def _head_too_large() -> ServiceError:
    detail = f"The header fields have more bytes than allowed; the limit is {MAX_HEAD_BYTES:,} bytes."
    return HeadTooLarge(detail, limit=MAX_HEAD_BYTES, unit="bytes")


def _too_many_fields() -> ServiceError:
    detail = f"There are more header fields than allowed; the limit is {MAX_FIELDS}."
    return HeadTooLarge(detail, limit=MAX_FIELDS, unit="fields")
