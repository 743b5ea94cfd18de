"""Counts of experiments, made behind the requests that ask for them, on a database connection of their own.

Counting millions of predictions takes the database seconds. An answer may be as old as fifty countings take, and five
minutes at most: small experiments are as good as live, and large ones cost the database 2 % of its time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

from api.addresses import parse_url
from api.errors import OutcomesUnavailable
from api.outcomes.database import open_engine
from api.outcomes.store import DATABASE_ERRORS, OutcomeStore, Split
from api.reports.counts import Tallies, tally
from api.settings import Settings

OLDEST_S = 300.0
_COUNTINGS = 50
_WAIT_S = 20.0
_STATEMENT_TIMEOUT_S = 600
_MAX_KEPT = 20

_Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Counted:
    """An experiment's counts."""

    split: Split
    tallies: Tallies
    # By the monotonic clock: when they were read, and how long that took.
    at: float
    seconds: float

    @property
    def age_s(self) -> float:
        """Seconds since they were read."""
        return monotonic() - self.at

    @property
    def stale(self) -> bool:
        """Whether they are too old for an answer."""
        return self.age_s > min(OLDEST_S, _COUNTINGS * self.seconds)


@dataclass
class CountsBehind:
    """Counts one experiment at a time; whoever asks for the same meanwhile waits for the same.

    Args:
        store: on an engine of its own, whose statements may take long.
    """

    store: OutcomeStore
    _kept: OrderedDict[_Key, Counted] = field(default_factory=OrderedDict)
    _tasks: dict[_Key, asyncio.Task[Counted]] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self, name: str, present: str | None, *, fresh: bool) -> Counted:
        """The counts of an experiment.

        Args:
            present: id of the split that they are about; the one used last when it is None or unknown.
            fresh: count anew.

        Raises:
            UnknownExperiment: the database has none of that name.
            OutcomesUnavailable: the database cannot be read, or takes longer than a request should wait. Then it goes
                on, and a later request finds what it counted.
        """
        key = (name, present)
        kept = self._kept.get(key)
        if kept is not None and not fresh and not kept.stale:
            return kept
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._count(key), name=f"counts of {name}")
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        done, _ = await asyncio.wait([task], timeout=_WAIT_S)
        if not done:
            raise OutcomesUnavailable(f"The predictions of {name} are being counted; that takes a while.")
        try:
            return task.result()
        except DATABASE_ERRORS as error:
            raise OutcomesUnavailable("Outcomes cannot be read at the moment.") from error

    async def _count(self, key: _Key) -> Counted:
        name, present = key
        async with self._turn:
            start = monotonic()
            split = await self.store.split(name, present)
            tallies = await tally(self.store.readers, split)
            counted = Counted(split, tallies, start, monotonic() - start)
        self._kept[key] = counted
        self._kept.move_to_end(key)
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return counted

    async def close(self) -> None:
        """End what is being counted."""
        for task in list(self._tasks.values()):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


@asynccontextmanager
async def open_counts(settings: Settings) -> AsyncIterator[CountsBehind]:
    """With a connection of its own, for as long as the body runs."""
    url = parse_url(settings.database_url.get_secret_value())
    engine = open_engine(url, statement_timeout_s=_STATEMENT_TIMEOUT_S, connections=1)
    counts = CountsBehind(OutcomeStore(engine))
    try:
        yield counts
    finally:
        await counts.close()
        # Like the writer's: a silent database must not keep the gateway from stopping.
        closing = asyncio.create_task(engine.dispose(), name="closing of the reports' connection")
        await asyncio.wait([closing], timeout=5)
