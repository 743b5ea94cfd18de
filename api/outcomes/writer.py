"""Writes predictions, splits and counts behind the answer: a bounded buffer, and one task that empties it."""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from api.errors import OutcomesUnavailable
from api.experiments.config import Experiment
from api.observe.metrics import Metrics
from api.outcomes.counts import Counts
from api.outcomes.records import PredictionRecord
from api.outcomes.store import DATABASE_ERRORS, OutcomeStore, Split
from api.settings import Settings

logger = logging.getLogger(__name__)

_BATCH_ROWS = 500
# Between the batches of a backlog, so that requests get their turn: making up rows holds the event loop.
_PAUSE_S = 0.02
_ATTEMPT_TIMEOUT_S = 20
_LONGEST_RETRY_S = 30


class OutcomeWriter:
    """The outcomes of one gateway. No method but run() waits for the database, unless it says so.

    A database that is slow, full or dead costs outcomes, which are counted, and never an answer. The buffer's limit is
    in rows, one for a prediction and one for each face, so that photos of crowds do not fill the memory. When it is
    full, new predictions are lost and those in it are kept.
    """

    def __init__(self, settings: Settings, metrics: Metrics, store: OutcomeStore) -> None:
        self.settings = settings
        self.metrics = metrics
        self.store = store
        self._key = _subject_key(settings)
        # Predictions that are not written yet, by id, and how many rows they make.
        self._buffer: dict[str, PredictionRecord] = {}
        self._rows = 0
        # All splits that were registered, by id, and how many of them the database has.
        self._splits: dict[str, Split] = {}
        self._splits_written = 0
        self._counts = Counts()
        self._migrated = False
        # Attempts that failed since the last one that did not.
        self._failures = 0
        # Set when the next attempt is not to wait for the flush; at first, so that the tables are made at start-up.
        self._due = asyncio.Event()
        self._due.set()
        # Set after the present attempt, and replaced by a new one.
        self._attempted = asyncio.Event()
        # Set by stop(), for run() and for whoever else works for these outcomes.
        self.stopping = asyncio.Event()

    def register_split(self, experiment: Experiment) -> None:
        """Take note of how an experiment divides its traffic; it is written at the next flush. Never raises.

        Any thread may call it, before run() too. Only the first call for a split has an effect.
        """
        weights = dict(zip(experiment.variant_names, experiment.buckets, strict=True))
        split = Split(experiment.split_id, experiment.name, experiment.control, weights, datetime.now(UTC))
        self._splits.setdefault(split.id, split)

    def count_assigned(self, experiment: Experiment, variant: str) -> None:
        """Count a request that was assigned by the split and is over, answered or not. Call it before record()."""
        self._counts.assign(experiment.split_id, variant)

    def record(self, prediction: PredictionRecord) -> None:
        """Keep a prediction for the next batch, or count it as lost when the buffer is full. Never raises."""
        rows = _rows(prediction)
        if self._rows + rows > self.settings.outcome_buffer:
            self.metrics.outcomes_lost.labels("overflow").inc()
            return
        self._rows += rows
        self._buffer[prediction.id] = replace(prediction, subject=prediction.subject and self.hash(prediction.subject))
        self._counts.buffer(prediction)
        self.metrics.outcomes_buffered.set(len(self._buffer))
        if self._rows >= _BATCH_ROWS:
            self._due.set()

    async def ready(self) -> None:
        """Wait until the tables and the registered splits are there.

        Raises OutcomesUnavailable when the database fails.
        """
        await self._until(lambda: self._migrated and self._splits_written == len(self._splits))

    async def written(self, prediction_id: str) -> None:
        """Wait until this prediction is not, or no longer, in the buffer.

        Raises OutcomesUnavailable when it is and the database fails. For any other it returns all the same: only the
        database can say what it has.
        """
        await self._until(lambda: prediction_id not in self._buffer and (self._migrated or self._failures > 0))

    def hash(self, subject: str) -> str:
        """What is stored in a subject's place: HMAC-SHA256 (RFC 2104), hex. Only who has the key can try out names."""
        return hmac.digest(self._key, subject.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()

    async def subject_written(self, hashed: str) -> None:
        """Wait until the tables are there, and no prediction of this subject is in the buffer.

        Raises OutcomesUnavailable when the database fails.
        """
        await self._until(
            lambda: self._migrated and all(prediction.subject != hashed for prediction in self._buffer.values())
        )

    @property
    def unwritten(self) -> bool:
        """Whether anything is left to write."""
        return bool(self._buffer or self._splits_written < len(self._splits) or self._counts.due())

    async def run(self) -> None:
        """Write until stop() is called, and then until all is written or the database fails."""
        last = False
        while not (last and (self._failures or not self.unwritten)):
            await self._pause()
            # Read before the attempt, so that there is one after stop().
            last = self.stopping.is_set()
            self._due.clear()
            await self._attempt()
            self._attempted.set()
            self._attempted = asyncio.Event()

    def stop(self) -> None:
        """Make run() write what is left and end."""
        self.stopping.set()
        self._due.set()

    def give_up(self) -> None:
        """Count what is left as lost."""
        if self._buffer:
            logger.error("%d predictions are lost: the database did not take them in time", len(self._buffer))
            self.metrics.outcomes_lost.labels("shutdown").inc(len(self._buffer))
        self._buffer.clear()
        self.metrics.outcomes_buffered.set(0)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            if self._failures or self.stopping.is_set():
                raise OutcomesUnavailable("Outcomes cannot be stored at the moment.")
            self._due.set()
            await self._attempted.wait()

    async def _pause(self) -> None:
        """Wait until it is time for the next attempt."""
        if self.stopping.is_set():
            return
        event, seconds = self._due, self.settings.outcome_flush_s
        if self._failures:
            event, seconds = self.stopping, retry_s(self._failures)
        elif self._rows >= _BATCH_ROWS:
            event, seconds = self.stopping, _PAUSE_S
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def _attempt(self) -> None:
        try:
            async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
                if not self._migrated:
                    await self.store.migrate()
                    self._migrated = True
                splits = list(self._splits.values())
                if len(splits) > self._splits_written:
                    await self.store.add_splits(splits)
                    self._splits_written = len(splits)
                await self._write(self._next_batch())
                if counts := self._counts.due():
                    await self.store.put_assignments(counts)
                    self._counts.wrote(counts)
        except Exception as error:
            self._failures += 1
            # The tables may be gone with the database that had them.
            self._migrated, self._splits_written = False, 0
            self._counts.wrote([])
            if not isinstance(error, DATABASE_ERRORS):
                logger.exception("unexpected error while outcomes were written")
            elif self._failures == 1:
                logger.warning("outcomes are buffered, because the database fails: %s", _first_line(error))
            self.metrics.outcomes_write_failures.inc()
            return
        if self._failures:
            logger.info("the database takes outcomes again")
            self._failures = 0
        self.metrics.outcomes_buffered.set(len(self._buffer))

    def _next_batch(self) -> list[PredictionRecord]:
        """The oldest predictions of the buffer: as many as make a batch, and one at least."""
        batch: list[PredictionRecord] = []
        rows = 0
        for prediction in self._buffer.values():
            rows += _rows(prediction)
            if batch and rows > _BATCH_ROWS:
                break
            batch.append(prediction)
        return batch

    async def _write(self, batch: Sequence[PredictionRecord]) -> None:
        if not batch:
            return
        stored = True
        try:
            await self.store.add(batch)
        except Exception as error:
            if not _is_refusal(error):
                raise
            if len(batch) > 1:
                # One row that the database will never take must not hold up the others for ever.
                for prediction in batch:
                    await self._write([prediction])
                return
            logger.error("prediction %s is lost: the database refuses it", batch[0].id, exc_info=error)
            self.metrics.outcomes_lost.labels("refused").inc()
            stored = False
        self.metrics.outcomes_written.inc(len(batch) * stored)
        for prediction in batch:
            if self._buffer.pop(prediction.id, None) is not None:
                self._rows -= _rows(prediction)
                self._counts.unbuffer(prediction, stored=stored)


def retry_s(failures: int) -> float:
    """How long to wait after so many failed attempts in a row, in seconds: twice as long each time, up to a limit."""
    return min(_LONGEST_RETRY_S, 0.25 * 2.0 ** min(failures, 10))


def _subject_key(settings: Settings) -> bytes:
    if settings.subject_secret is not None:
        return settings.subject_secret.get_secret_value().encode()
    logger.warning(
        "EMOTION_SUBJECT_SECRET is not set: subjects are hashed with a random key, so that no other process, nor this "
        "one after a restart, recognises them"
    )
    return secrets.token_bytes(32)


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
