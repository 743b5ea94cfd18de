"""ASGI middleware: how large a body may be."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import TooLarge
from api.http.routes import PREFIX


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Refuses a body that is too large, at once when Content-Length says so, else as soon as it is.

    Frameworks limit form fields, but write files of any size to disk.
    """

    app: ASGIApp
    # Bytes by path, without the API's prefix.
    limits: Mapping[str, int]
    # Bytes for any other path.
    default: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope["path"].removeprefix(PREFIX), self.default)
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length) if length.isdecimal() else None
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            if announced is not None and announced > limit:
                detail = f"The body has {announced:,} bytes; the limit is {limit:,} bytes."
                raise TooLarge(detail, limit=limit, unit="bytes", size=announced)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                detail = f"The body has more bytes than allowed; the limit is {limit:,} bytes."
                raise TooLarge(detail, limit=limit, unit="bytes")
            return message

        await self.app(scope, receive_limited, send)
