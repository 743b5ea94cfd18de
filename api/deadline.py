"""Deadlines within a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.errors import ServiceError


@asynccontextmanager
async def within(seconds: float, error: ServiceError) -> AsyncIterator[float]:
    """Cancel the body after `seconds` and raise `error` in its place; yields when that is, in the loop's time."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout_at(deadline) as timeout:
            yield deadline
    except TimeoutError as expired:
        if not timeout.expired():
            raise
        raise error from expired
