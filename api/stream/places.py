"""How many streams there may be."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from api.observe.metrics import Metrics


@dataclass
class Places:
    """For the streams of one gateway."""

    limit: int
    metrics: Metrics
    taken: int = 0

    def __post_init__(self) -> None:
        self.metrics.streams_limit.set(self.limit)

    @contextmanager
    def take(self) -> Iterator[bool]:
        """Take one for as long as the body runs; False: there is none."""
        if self.taken >= self.limit:
            yield False
            return
        self.taken += 1
        self.metrics.streams.set(self.taken)
        try:
            yield True
        finally:
            self.taken -= 1
            self.metrics.streams.set(self.taken)
