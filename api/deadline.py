"""Deadlines within a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.errors import ServiceError


@asynccontextmanager
async def within(seconds: float, late: type[ServiceError], detail: str) -> AsyncIterator[float]:
    """Cancel the body after so long and raise `late(detail)` in its place. Yields when that is, in the loop's time."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout_at(deadline) as timeout:
            yield deadline
    except TimeoutError as expired:
        if not timeout.expired():
            raise
        raise late(detail) from expired
