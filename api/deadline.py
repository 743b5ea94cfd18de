"""Deadlines within a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.errors import ServiceError


@asynccontextmanager
async def within(seconds: float, error: ServiceError) -> AsyncIterator[None]:
    """Cancel the body after `seconds` and raise `error` in its place."""
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield
    except TimeoutError as expired:
        if not timeout.expired():
            raise
        raise error from expired
