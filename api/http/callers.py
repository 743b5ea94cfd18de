"""Who sent a request, what that one may do, and how much of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from api.http.state import CallersDep, MetricsDep
from api.keys.callers import Caller, Callers
from api.keys.file import Scope
from api.keys.quotas import Quota
from api.observe.metrics import Metrics

KEY_HEADER = "X-API-Key"
ADMIN_HEADER = "X-Admin-Key"

CALLER = "emotion.caller"
"""Where a scope has the name of its caller, for the access log."""

_key_header = APIKeyHeader(name=KEY_HEADER, auto_error=False, description="A caller's key.")
_admin_header = APIKeyHeader(name=ADMIN_HEADER, auto_error=False, description="The value of EMOTION_ADMIN_KEY.")
_bearer = HTTPBearer(auto_error=False, description="A caller's key.")


async def caller_of(
    request: Request,
    callers: CallersDep,
    # Only for the OpenAPI document: what they read, given_key() reads as bytes.
    key: Annotated[Any, Security(_key_header)] = None,
    admin: Annotated[Any, Security(_admin_header)] = None,
    bearer: Annotated[Any, Security(_bearer)] = None,
) -> Caller:
    """
    Raises:
        Unauthorized: the request has a key, and it is wrong or past its time.
        TooManyGuesses: too many from its address were wrong.
    """
    return identified(request, callers, given_key(request))


def identified(connection: HTTPConnection, callers: Callers, given: str | None) -> Caller:
    """Who has that key, or none; noted for the access log. Raises as caller_of() does."""
    # As the proxies tell it that uvicorn trusts.
    address = connection.client.host if connection.client else ""
    caller = callers.identify(given, address)
    connection.scope[CALLER] = caller.name
    return caller


@asynccontextmanager
async def admitted(caller: Caller, scope: Scope, callers: Callers, metrics: Metrics) -> AsyncIterator[Quota | None]:
    """Count a request, or a stream for its life, against the caller's key; gives what is left of its rate.

    Raises:
        Unauthorized, Forbidden, AdminDisabled: it is not the caller's to ask.
        RateLimited: the caller's key has had its share.
    """
    callers.require(caller, scope)
    metrics.key_requests.labels(caller.name).inc()
    if caller.key is None:
        yield None
        return
    quota = await callers.quotas.admit(caller.key)
    try:
        yield quota
    finally:
        callers.quotas.release(caller.key)


def given_key(request: HTTPConnection) -> str | None:
    """The key in a request's header fields."""
    for header in (KEY_HEADER, ADMIN_HEADER):
        if (value := request.headers.get(header)) is not None:
            break
    else:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
    # Starlette reads headers as Latin-1, which gives the bytes that were sent.
    return value.strip().encode("latin-1").decode(errors="backslashreplace")


def _admitting(scope: Scope) -> Callable[..., AsyncIterator[Caller]]:
    async def admit(
        response: Response,
        callers: CallersDep,
        metrics: MetricsDep,
        caller: Annotated[Caller, Depends(caller_of)],
    ) -> AsyncIterator[Caller]:
        """Raises as admitted() does."""
        async with admitted(caller, scope, callers, metrics) as quota:
            if quota is not None:
                response.headers.update(quota.headers(caller.name))
            yield caller

    return admit


PredictCaller = Annotated[Caller, Depends(_admitting("predict"))]
FeedbackCaller = Depends(_admitting("feedback"))
ReportCaller = Depends(_admitting("report"))
AdminCaller = Depends(_admitting("admin"))
