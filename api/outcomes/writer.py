"""Writes predictions behind the answer: a bounded buffer, and one task that empties it in batches."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from api.errors import OutcomesUnavailable
from api.observe.metrics import Metrics
from api.outcomes.counts import Ledger
from api.outcomes.records import PredictionRecord
from api.outcomes.store import DATABASE_ERRORS, OutcomeStore, Split

logger = logging.getLogger(__name__)

_BATCH_ROWS = 500
# Between the batches of a backlog, for requests: making up its rows holds the event loop.
_PAUSE_S = 0.02
_ATTEMPT_TIMEOUT_S = 20
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 30


class OutcomeWriter:
    """An OutcomeSink. A database that is slow, full or dead costs outcomes, which are counted, and never an answer.

    The buffer's limit is in rows, one for a prediction and one for each face: photos of crowds must not fill the
    memory. When it is full, new predictions are lost and those in it are kept.
    """

    def __init__(
        self,
        store: OutcomeStore,
        metrics: Metrics,
        *,
        migrate: Callable[[], Awaitable[None]],
        secret: bytes,
        capacity: int,
        flush_s: float,
    ) -> None:
        """migrate: makes the tables, again after any failure. secret: key of the hash that stands for a subject.

        capacity: rows; flush_s: seconds that a prediction waits at most before it is written.
        """
        self._store = store
        self._metrics = metrics
        self._migrate = migrate
        self._secret = secret
        self._capacity = capacity
        self._flush_s = flush_s
        self._pending: dict[str, PredictionRecord] = {}
        self._splits: dict[str, Split] = {}
        self._noted: dict[str, Split] = {}
        self._ledger = Ledger()
        self._rows = 0
        self._migrated = False
        self._failures = 0
        self._closing = asyncio.Event()
        # Set at first, so that the tables are made at start-up.
        self._due = asyncio.Event()
        self._due.set()
        self._timer: asyncio.TimerHandle | None = None
        self._attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="outcome writer")

    def record(self, prediction: PredictionRecord) -> None:
        """Keep a prediction for the next batch, or count it as lost when the buffer is full."""
        rows = _rows(prediction)
        if self._rows + rows > self._capacity:
            self._metrics.count_lost_outcome("overflow")
            return
        self._rows += rows
        self._pending[prediction.id] = replace(prediction, subject=self._hash(prediction.subject))
        self._ledger.enter(prediction)
        self._metrics.set_buffered_outcomes(len(self._pending))
        self._schedule()

    def count_assigned(self, split_id: str, variant: str) -> None:
        """A request was assigned by the split and is done with, answered or not. Call it before record()."""
        self._ledger.assign(split_id, variant)
        self._schedule()

    def note_split(self, split_id: str, experiment: str, control: str, weights: Mapping[str, float]) -> None:
        """Tell the database how an experiment divides its traffic. Never blocks and never raises.

        Only the first call for a split costs anything.
        """
        if split_id not in self._noted:
            split = Split(split_id, experiment, control, dict(weights), datetime.now(UTC))
            self._noted[split_id] = self._splits[split_id] = split
            self._due.set()

    async def settled(self, prediction_id: str | None = None) -> None:
        """Return when this prediction is not, or no longer, waiting to be written; without one, when no split is.

        Raises OutcomesUnavailable when they wait and the database fails. That it fails says nothing about a prediction
        that does not wait: then the database must be asked.
        """
        while not self._migrated or prediction_id in self._pending or (prediction_id is None and self._splits):
            if self._failures or self._task.done():
                if prediction_id is not None and prediction_id not in self._pending:
                    return
                raise OutcomesUnavailable("Outcomes cannot be stored at the moment.")
            self._due.set()
            await asyncio.shield(self._attempt)

    async def close(self, timeout_s: float) -> None:
        """Write what is left for so many seconds at most; what then remains is lost."""
        self._closing.set()
        self._due.set()
        _, unfinished = await asyncio.wait([self._task], timeout=timeout_s)
        if unfinished:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=timeout_s)
        if self._timer:
            self._timer.cancel()
        if self._pending:
            logger.error("%d predictions are lost: the database did not take them in time", len(self._pending))
            self._metrics.count_lost_outcome("shutdown", len(self._pending))
        self._pending.clear()
        self._metrics.set_buffered_outcomes(0)

    def _hash(self, subject: str | None) -> str | None:
        if subject is None:
            return None
        return hmac.digest(self._secret, subject.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()

    def _schedule(self) -> None:
        if self._rows >= _BATCH_ROWS or (self._closing.is_set() and self._unwritten()):
            self._due.set()
        elif self._timer is None and self._unwritten():
            self._timer = asyncio.get_running_loop().call_later(self._flush_s, self._due.set)

    def _unwritten(self) -> bool:
        return bool(self._pending or self._splits or self._ledger.due())

    async def _run(self) -> None:
        stopping = False
        while not (stopping and (self._failures or not self._unwritten())):
            if not self._failures:
                await self._due.wait()
            # Read before the attempt: after close() there is always one more.
            stopping = self._closing.is_set()
            self._due.clear()
            if self._timer:
                self._timer.cancel()
                self._timer = None
            try:
                await self._try()
            finally:
                attempt, self._attempt = self._attempt, asyncio.get_running_loop().create_future()
                attempt.set_result(None)
            if self._failures:
                await self._back_off()
            else:
                self._schedule()
                if self._rows >= _BATCH_ROWS and not self._closing.is_set():
                    await asyncio.sleep(_PAUSE_S)

    def _next_batch(self) -> list[PredictionRecord]:
        """The oldest predictions that wait, at least one of them, and no more than so many rows."""
        batch: list[PredictionRecord] = []
        rows = 0
        for prediction in self._pending.values():
            rows += _rows(prediction)
            if batch and rows > _BATCH_ROWS:
                break
            batch.append(prediction)
        return batch

    def _forget(self, prediction: PredictionRecord, *, stored: bool) -> None:
        if self._pending.pop(prediction.id, None) is not None:
            self._rows -= _rows(prediction)
            self._ledger.leave(prediction, stored=stored)

    async def _try(self) -> None:
        batch = self._next_batch()
        changed = dict(self._splits)
        try:
            async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
                if not self._migrated:
                    await self._migrate()
                    self._migrated = True
                await self._write(batch, list(changed.values()))
                for prediction in batch:
                    self._forget(prediction, stored=True)
                if counts := self._ledger.due():
                    await self._store.put_assignments(counts)
                    self._ledger.note(counts)
        except Exception as error:
            self._failures += 1
            # The tables may be gone with the database that had them.
            self._migrated = False
            self._splits = dict(self._noted)
            self._ledger.note_none()
            if not isinstance(error, DATABASE_ERRORS):
                logger.exception("unexpected error while outcomes were written")
            elif self._failures == 1:
                logger.warning("outcomes are buffered, for the database fails: %s", _first_line(error))
            self._metrics.count_outcome_failure()
            return
        if self._failures:
            logger.info("the database takes outcomes again")
            self._failures = 0
        for split_id in changed:
            del self._splits[split_id]
        self._metrics.set_buffered_outcomes(len(self._pending))

    async def _write(self, batch: list[PredictionRecord], changed: list[Split]) -> None:
        try:
            await self._store.add(batch, changed)
            written = len(batch)
        except Exception as error:
            if not _is_refusal(error):
                raise
            # One row that the database will never take must not hold up the others for ever.
            written = 0
            for prediction in batch:
                written += await self._write_alone(prediction)
            await self._store.add([], changed)
        self._metrics.count_written_outcomes(written)

    async def _write_alone(self, prediction: PredictionRecord) -> bool:
        try:
            await self._store.add([prediction])
        except Exception as error:
            if not _is_refusal(error):
                raise
            logger.error("prediction %s is lost: the database refuses it", prediction.id, exc_info=error)
            self._metrics.count_lost_outcome("refused")
            # Now, for the rest of the batch may have to be tried again.
            self._forget(prediction, stored=False)
            return False
        return True

    async def _back_off(self) -> None:
        delay = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2 ** (self._failures - 1))
        try:
            async with asyncio.timeout(delay):
                await self._closing.wait()
        except TimeoutError:
            return


def _is_refusal(error: Exception) -> bool:
    """True when the row is at fault and not the database: trying again would not help."""
    # A value that cannot be bound is a bare StatementError, or one of the last two where SQLite's driver finds out.
    unbound = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    return unbound or isinstance(error, (DataError, IntegrityError, OverflowError, UnicodeEncodeError))


def _rows(prediction: PredictionRecord) -> int:
    return 1 + len(prediction.faces)


def _first_line(error: Exception) -> str:
    # What follows are the statement and its parameters.
    return (str(error).splitlines() or [type(error).__name__])[0]
