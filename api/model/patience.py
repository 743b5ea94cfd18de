"""How long calls take, and how often failed ones are repeated."""

import math
from collections import deque

_FACTOR = 3
_LEAST_S = 0.25
# Before that many answers nobody knows what is usual.
_ENOUGH = 20
_KEPT = 200
# The quantile is sorted anew after so many answers.
_STALE = 10


class Durations:
    """Of the latest calls of one kind."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT)
        self._patience_s: float | None = None
        self._new = 0

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._new += 1

    @property
    def patience_s(self) -> float | None:
        """When a call is late: three times the 99th percentile, and at least 250 ms; None before 20 answers."""
        if len(self._seconds) < _ENOUGH:
            return None
        if self._patience_s is None or self._new >= _STALE:
            self._new = 0
            percentile = sorted(self._seconds)[math.ceil(0.99 * len(self._seconds)) - 1]
            self._patience_s = max(_LEAST_S, _FACTOR * percentile)
        return self._patience_s


class RetryBudget:
    """While most calls fail, repeating them only adds load: that stops after about 50 failures, and two successes make
    up for one. gRPC's own retryThrottling counts so, but for one channel.
    """

    _MOST = 100.0

    def __init__(self) -> None:
        self._tokens = self._MOST

    @property
    def left(self) -> bool:
        return self._tokens > self._MOST / 2

    def succeed(self) -> None:
        self._tokens = min(self._MOST, self._tokens + 0.5)

    def fail(self) -> None:
        self._tokens = max(0.0, self._tokens - 1)
