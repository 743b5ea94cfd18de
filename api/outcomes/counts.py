"""How many requests each variant was assigned, and of how many the prediction is stored."""

from collections import Counter
from uuid import uuid4

from api.outcomes.records import PredictionRecord
from api.outcomes.store import Assignments

_Key = tuple[str, str]  # split, variant


class Counts:
    """Requests of one run of a gateway, by split and variant.

    A request is lost when it was assigned and its prediction is not stored: it failed, the buffer was full, or the
    database refused it. A prediction in the buffer is neither stored nor lost yet, so its request is left out of both
    counts until that is decided.
    """

    def __init__(self) -> None:
        self._run = uuid4().hex
        self._assigned: Counter[_Key] = Counter()
        self._buffered: Counter[_Key] = Counter()
        self._stored: Counter[_Key] = Counter()
        self._written: list[Assignments] = []

    def assign(self, split_id: str, variant: str) -> None:
        """Count a request that the split assigned and that is over, answered or not."""
        self._assigned[split_id, variant] += 1

    def buffer(self, prediction: PredictionRecord) -> None:
        """Its prediction waits to be stored."""
        self._buffered.update(_keys(prediction))

    def unbuffer(self, prediction: PredictionRecord, *, stored: bool) -> None:
        """Its prediction no longer waits."""
        self._buffered.subtract(_keys(prediction))
        if stored:
            self._stored.update(_keys(prediction))

    def due(self) -> list[Assignments]:
        """All counts, or nothing when they are as they were last written."""
        counts = [
            Assignments(self._run, *key, assigned - self._buffered[key], self._stored[key])
            for key, assigned in self._assigned.items()
        ]
        return counts if counts != self._written else []

    def wrote(self, counts: list[Assignments]) -> None:
        """The database has these; with none, it may have lost what it had."""
        self._written = counts


def _keys(prediction: PredictionRecord) -> list[_Key]:
    """One key, or none for a prediction that no split assigned."""
    if prediction.forced or prediction.split is None or prediction.variant is None:
        return []
    return [(prediction.split, prediction.variant)]
