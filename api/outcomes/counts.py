"""Who was assigned, and of whom a prediction was stored: what gets lost in between must not hit one variant alone."""

from collections import Counter
from collections.abc import Iterable
from uuid import uuid4

from api.outcomes.records import PredictionRecord
from api.outcomes.store import Assignments

_Key = tuple[str, str]  # split, variant


class Ledger:
    """Counts of one run of a gateway. A prediction that waits to be stored is in none of them, so that whatever was
    assigned and not stored is lost: the request failed, the buffer was full, or the database refused the prediction.
    """

    def __init__(self) -> None:
        self._run = uuid4().hex
        self._assigned: Counter[_Key] = Counter()
        self._waiting: Counter[_Key] = Counter()
        self._stored: Counter[_Key] = Counter()
        self._noted: dict[_Key, Assignments] = {}

    def assign(self, split_id: str, variant: str) -> None:
        """A request was assigned by the split and is done with, answered or not."""
        self._assigned[split_id, variant] += 1

    def enter(self, prediction: PredictionRecord) -> None:
        """Its prediction waits to be stored."""
        for key in _keys(prediction):
            self._waiting[key] += 1

    def leave(self, prediction: PredictionRecord, *, stored: bool) -> None:
        """It waits no longer."""
        for key in _keys(prediction):
            self._waiting[key] -= 1
            self._stored[key] += stored

    def due(self) -> list[Assignments]:
        """What has changed since it was noted."""
        counts = {
            key: Assignments(self._run, *key, assigned - self._waiting[key], self._stored[key])
            for key, assigned in self._assigned.items()
        }
        return [count for key, count in counts.items() if self._noted.get(key) != count]

    def note(self, counts: Iterable[Assignments]) -> None:
        """The database has these."""
        self._noted.update({(count.split, count.variant): count for count in counts})

    def note_none(self) -> None:
        """The database may have lost what it had."""
        self._noted.clear()


def _keys(prediction: PredictionRecord) -> list[_Key]:
    """One key, or none when the split has not assigned it."""
    if prediction.forced or prediction.split is None or prediction.variant is None:
        return []
    return [(prediction.split, prediction.variant)]
