"""ASGI middleware: how large a body may be, how slowly it may arrive, and how much of all of them may be held."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Overloaded, TooLarge, UploadTimeout
from api.http.routes import PREFIX
from api.observe.metrics import Metrics

_GRACE_S = 5.0
"""Before the rate of an upload counts: a mobile connection takes its time to get going."""


@dataclass
class _Held:
    # Bytes of all bodies that are being read or worked on.
    total: int = 0


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Refuses a body that is too large, at once when Content-Length says so, else as soon as it is.

    And one that arrives too slowly, and any more while those that are here already fill the memory they may take.

    Frameworks limit form fields, but write files of any size to disk.
    """

    app: ASGIApp
    # Bytes by path, without the API's prefix.
    limits: Mapping[str, int]
    # Bytes for any other path.
    default: int
    # Of all bodies at once.
    memory: int
    # Seconds that a body may take.
    timeout_s: float
    # Bytes a second that it must make on average.
    rate: int
    metrics: Metrics
    held: _Held = field(default_factory=_Held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope["path"].removeprefix(PREFIX), self.default)
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length) if length.isdecimal() else None
        received = 0
        whole = False
        begun = monotonic()

        async def receive_limited() -> Message:
            nonlocal received, whole
            if whole:
                return await receive()
            if announced is not None and announced > limit:
                detail = f"The body has {announced:,} bytes; the limit is {limit:,} bytes."
                raise TooLarge(detail, limit=limit, unit="bytes", size=announced)
            if self.held.total + (announced or 0) - received > self.memory:
                detail = f"The bodies of other requests take all of the {self.memory:,} bytes that they may."
                raise Overloaded(detail)
            seconds = min(self.timeout_s, _GRACE_S + received / self.rate)
            try:
                async with asyncio.timeout(begun + seconds - monotonic()):
                    message = await receive()
            except TimeoutError as late:
                detail = (
                    f"{received:,} bytes of the body arrived in {seconds:.0f} s; it must make {self.rate:,} bytes a "
                    f"second and be whole within {self.timeout_s:g} s."
                )
                raise UploadTimeout(detail) from late
            size = len(message.get("body", b""))
            received += size
            self.held.total += size
            self.metrics.body_bytes.set(self.held.total)
            whole = not message.get("more_body", False)
            if received > limit:
                detail = f"The body has more bytes than allowed; the limit is {limit:,} bytes."
                raise TooLarge(detail, limit=limit, unit="bytes")
            return message

        try:
            await self.app(scope, receive_limited, send)
        finally:
            self.held.total -= received
            self.metrics.body_bytes.set(self.held.total)
