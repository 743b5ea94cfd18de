"""Requests that mean the same are made the same, and answers name no host."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import InvalidParameter

_MAX_PARAMETERS = 100


@dataclass(frozen=True, slots=True)
class Canonical:
    """HEAD is GET without its body, and redirects are relative.

    Redirects (of paths with a slash too many) would otherwise hold what the client sent as Host, and http where a proxy
    has ended TLS.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        # A copy, because the server looks at its own for whether an answer has a body.
        inner = {**scope, "method": "GET"} if head else scope

        async def send_plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "location" in headers:
                    target = urlsplit(headers["location"])
                    # A path that began with two slashes would be read as another host.
                    path = "/" + target.path.lstrip("/")
                    headers["location"] = target._replace(scheme="", netloc="", path=path).geturl()
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(inner, receive, send_plain)
        finally:
            # The access log and metrics tell of it.
            scope["route"] = inner.get("route")


async def require_plain_query(request: Request) -> None:
    """
    Raises:
        InvalidParameter: a query parameter is there twice, or not UTF-8; or there are too many to look at.
    """
    query = request.url.query
    if query.count("&") >= _MAX_PARAMETERS:
        raise InvalidParameter({"query": f"has more than {_MAX_PARAMETERS} parameters"})
    try:
        names = [name for name, _ in parse_qsl(query, keep_blank_values=True, errors="strict")]
    except UnicodeDecodeError as error:
        raise InvalidParameter({"query": "has %-escapes that are not UTF-8"}) from error
    if len(set(names)) < len(names):
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise InvalidParameter(dict.fromkeys(twice, "is there more than once"))
