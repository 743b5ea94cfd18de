"""Requests a second and at a time, by key. Of this process: several gateways admit as many times as much."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from api.errors import RateLimited
from api.keys.file import ApiKey


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a key's rate."""

    limit: int
    # Of the window, seconds.
    window_s: int
    remaining: int
    reset_s: int

    def headers(self, name: str) -> dict[str, str]:
        """RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10)."""
        return {
            "RateLimit-Policy": f'"{name}";q={self.limit};w={self.window_s}',
            "RateLimit": f'"{name}";r={self.remaining};t={self.reset_s}',
        }


@dataclass
class Quotas:
    """Counts requests by key."""

    _limiter: MovingWindowRateLimiter = field(default_factory=lambda: MovingWindowRateLimiter(MemoryStorage()))
    _running: Counter[str] = field(default_factory=Counter)

    async def admit(self, key: ApiKey) -> Quota | None:
        """Count a request, which release() ends; None where the key has no rate.

        Raises:
            RateLimited: it would be one too many, a second or at a time.
        """
        if key.concurrency is not None and self._running[key.name] >= key.concurrency:
            raise RateLimited(
                f"Key {key.name} may have {key.concurrency} requests at a time.", retry_after_s=1, limit=key.concurrency
            )
        quota = await self.hit(key)
        self._running[key.name] += 1
        return quota

    def release(self, key: ApiKey) -> None:
        """An admitted request has ended."""
        self._running[key.name] -= 1
        if self._running[key.name] <= 0:
            del self._running[key.name]

    async def hit(self, key: ApiKey) -> Quota | None:
        """Count something that the rate counts; None where the key has none.

        Raises:
            RateLimited: it is one too many.
        """
        limit = key.limit
        if limit is None:
            return None
        admitted = await self._limiter.hit(limit, key.name)
        reset, remaining = await self._limiter.get_window_stats(limit, key.name)
        quota = Quota(limit.amount, limit.get_expiry(), remaining, max(0, math.ceil(reset - time.time())))
        if not admitted:
            raise RateLimited(
                f"Key {key.name} may send {limit.amount} requests in {limit.get_expiry()} s.",
                retry_after_s=max(1, quota.reset_s),
                headers=quota.headers(key.name),
                limit=limit.amount,
            )
        return quota
