"""A circuit breaker for each target of an experiment."""

import time
from collections.abc import Callable
from functools import partial

from api.circuit_breaker import CircuitBreaker
from wire.target import Target


class Breakers(dict[Target, CircuitBreaker]):
    """One circuit breaker per target, made when it is first looked up. Targets come from experiments.yaml alone, so
    there are few.
    """

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._new = partial(CircuitBreaker, failures, open_s, clock)

    def __missing__(self, target: Target) -> CircuitBreaker:
        return self.setdefault(target, self._new())
