"""How long a call to the model server would wait for those before it, by what it has been answering."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

# As many calls are taken to be worked on at the same time, so that a few large ones alone refuse nobody.
_TOGETHER = 2
_SMOOTHING = 0.1


class Backlog:
    """Calls in flight, and the time between two answers while others wait.

    The product is what the next call waits for (Little's law), whether the server works on its calls in turn or on all
    of them at once.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._interval_s = 0.0
        # When a call was answered last, if others have been waiting ever since.
        self._answered: float | None = None

    @property
    def wait_s(self) -> float:
        """Seconds that a call begun now waits, by estimate; 0 where no more are in flight than work at once."""
        return max(0, self._calls - _TOGETHER) * self._interval_s

    @contextmanager
    def call(self) -> Iterator[None]:
        """For as long as a call lasts. One that fails tells nothing of how fast the others are answered."""
        self._calls += 1
        answered = False
        try:
            yield
            answered = True
        finally:
            self._calls -= 1
            now = monotonic()
            if answered and self._answered is not None:
                self._interval_s += _SMOOTHING * (now - self._answered - self._interval_s)
            if self._calls < _TOGETHER:
                self._answered = None
            elif answered:
                self._answered = now
