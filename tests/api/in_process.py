"""The gateway in the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from api.http.state import State


@asynccontextmanager
async def in_process(app: FastAPI, **options: Any) -> AsyncIterator[tuple[httpx.AsyncClient, State]]:
    """Within the application's lifespan, a client of it, and what the lifespan made.

    Args:
        options: of the client.
    """
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            # As servers hand it to each request; httpx' transport does not.
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(app=with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", **options) as client:
            yield client, state
