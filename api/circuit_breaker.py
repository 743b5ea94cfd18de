"""Circuit breakers: what keeps failing is left alone for a while (Nygard, "Release It!", 2007, chapter 5)."""

import time
from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Closed until `failures` attempts in a row fail, then open for `open_s` seconds, then half-open.

    Half-open lets one attempt through: its success closes the circuit, its failure opens it again.
    """

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: seconds that never go back.
        """
        self._threshold = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._retry_at: float | None = None
        self._probing = False
        # Grows with every change of state: attempts begun before it say nothing about the state after it.
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        if self._retry_at is None:
            return "closed"
        return "open" if self._clock() < self._retry_at else "half-open"

    @property
    def opens_in_s(self) -> float:
        """Until one attempt is let through; 0 where one is."""
        return 0.0 if self._retry_at is None else max(0.0, self._retry_at - self._clock())

    def begin(self) -> int | None:
        """A ticket to hand to succeed(), fail() or abandon(), exactly one of them; None: do not attempt it now."""
        if self._retry_at is not None:
            if self._probing or self._clock() < self._retry_at:
                return None
            self._probing = True
        return self._generation

    def succeed(self, ticket: int) -> None:
        if ticket != self._generation:
            return
        self._failures = 0
        if self._retry_at is not None:
            self._change(None)

    def fail(self, ticket: int) -> None:
        if ticket != self._generation:
            return
        self._failures += 1
        if self._probing or self._failures >= self._threshold:
            self._change(self._clock() + self._open_s)

    def abandon(self, ticket: int) -> None:
        """The attempt ended without saying anything about its target."""
        if ticket == self._generation:
            self._probing = False

    def _change(self, retry_at: float | None) -> None:
        self._retry_at = retry_at
        self._failures = 0
        self._probing = False
        self._generation += 1
