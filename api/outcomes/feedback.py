"""The outcomes of one gateway: what it records, the feedback it takes, the retention it keeps."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError

from api.deadline import within
from api.errors import InvalidParameter, OutcomesUnavailable, PredictionExpired, UnknownPrediction
from api.experiments.config import Experiment
from api.observe.metrics import Metrics
from api.outcomes.database import open_engine, parse_url
from api.outcomes.ids import made_at
from api.outcomes.migrate import migrate
from api.outcomes.records import PredictionRecord
from api.outcomes.store import DATABASE_ERRORS, Feedback, OutcomeStore, StoredPrediction
from api.outcomes.writer import OutcomeWriter
from api.settings import Settings

logger = logging.getLogger(__name__)

_PRUNE_EVERY_S = 3600
_CLOSE_TIMEOUT_S = 5
_FEEDBACK_TIMEOUT_S = 10

# How long feedback on an id that is not there waits for another replica's flush, and how often it looks. For another
# minute the replica may have a backlog, or a clock of its own: until then nobody can say that there is no such id.
_PATIENCE_S, _LOOK_EVERY_S, _GRACE_S = 3, 0.2, 60


class Outcomes:
    """Use it through open_outcomes()."""

    def __init__(self, settings: Settings, metrics: Metrics, store: OutcomeStore, writer: OutcomeWriter) -> None:
        self.store = store
        self._settings = settings
        self._metrics = metrics
        self._writer = writer

    def record(self, prediction: PredictionRecord) -> None:
        """See OutcomeSink."""
        self._writer.record(prediction)

    def count_assigned(self, experiment: Experiment, variant: str) -> None:
        """A request was assigned by the experiment's split and is done with, answered or not; call it before record().

        Never blocks and never raises.
        """
        self.note_split(experiment)
        self._writer.count_assigned(experiment.split_id, variant)

    def note_split(self, experiment: Experiment) -> None:
        """Take note of how an experiment divides its traffic, if that is news. Never blocks and never raises."""
        weights = dict(zip(experiment.variant_names, experiment.buckets, strict=True))
        self._writer.note_split(experiment.split_id, experiment.name, experiment.control, weights)

    async def ready(self) -> None:
        """Return when the tables and the splits are there. Raises OutcomesUnavailable when the database fails."""
        await self._writer.settled()

    async def take_feedback(
        self, prediction_id: str, face: int, *, emotion: str | None, correct: bool | None
    ) -> tuple[Feedback, StoredPrediction]:
        """Store what somebody says about one face: its emotion, or else whether the prediction was correct.

        Raises UnknownPrediction, PredictionExpired, InvalidParameter (no such face or emotion) or
        OutcomesUnavailable: the database fails, or an id so young that another replica may still have to store it.
        """
        made = made_at(prediction_id)
        if made is None:
            raise UnknownPrediction(f"{prediction_id!r} is not the id of a prediction.")
        now = datetime.now(UTC)
        days = self._settings.retention_days
        if now - made > timedelta(days=days):
            raise PredictionExpired(
                f"Predictions are kept for {days} days; this one is older.", limit=days, unit="days"
            )
        late = OutcomesUnavailable(f"The outcome database did not answer within {_FEEDBACK_TIMEOUT_S} s.")
        async with within(_FEEDBACK_TIMEOUT_S, late):
            try:
                prediction = await self._find(prediction_id, age_s=(now - made).total_seconds())
                feedback = _judge(prediction, face, emotion, correct, now)
                await self.store.put_feedback(feedback)
            except IntegrityError as error:
                raise UnknownPrediction(f"Prediction {prediction_id} has just been deleted.") from error
            except DATABASE_ERRORS as error:
                logger.warning("feedback is refused, for the database fails: %s", type(error).__name__)
                raise OutcomesUnavailable("Feedback cannot be stored at the moment.") from error
        self._metrics.count_feedback(prediction.experiment, prediction.variant, correct=feedback.correct)
        return feedback, prediction

    async def prune(self) -> int:
        """Delete what is past the retention time; returns the number of predictions."""
        deleted = await self.store.prune(datetime.now(UTC) - timedelta(days=self._settings.retention_days))
        self._metrics.count_pruned_outcomes(deleted)
        return deleted

    async def keep_pruning(self) -> None:
        """Prune at once and every hour, until cancelled."""
        while True:
            try:
                await self.ready()
                deleted = await self.prune()
                logger.info("%d predictions were past the retention time", deleted)
            except (OutcomesUnavailable, *DATABASE_ERRORS) as error:
                logger.warning("retention has to wait, for the database fails: %s", type(error).__name__)
            await asyncio.sleep(_PRUNE_EVERY_S)

    async def _find(self, prediction_id: str, age_s: float) -> StoredPrediction:
        await self._writer.settled(prediction_id)
        flushed_s = 2 * self._settings.outcome_flush_s
        fresh = -_GRACE_S < age_s < flushed_s + _GRACE_S
        loop = asyncio.get_running_loop()
        end = loop.time() + (min(flushed_s - age_s, _PATIENCE_S) if fresh else 0)
        while True:
            found = await self.store.find(prediction_id)
            if found is not None:
                return found
            left_s = end - loop.time()
            if left_s <= 0:
                break
            await asyncio.sleep(min(left_s, _LOOK_EVERY_S))
        if fresh:
            raise OutcomesUnavailable(f"Prediction {prediction_id} is not stored, or not yet: try again.")
        raise UnknownPrediction(f"There is no prediction {prediction_id}.")


def _judge(
    prediction: StoredPrediction, face: int, emotion: str | None, correct: bool | None, now: datetime
) -> Feedback:
    count = len(prediction.emotions)
    if face >= count:
        raise InvalidParameter({"face": f"{face} is too high: the prediction has {count} faces, counted from 0"})
    if emotion is not None and emotion not in prediction.classes:
        raise InvalidParameter({"emotion": f"{emotion!r} is none of {', '.join(prediction.classes)}"})
    right = emotion == prediction.emotions[face] if emotion is not None else bool(correct)
    return Feedback(prediction.id, face, emotion, right, now)


@asynccontextmanager
async def open_outcomes(settings: Settings, metrics: Metrics) -> AsyncIterator[Outcomes]:
    """Start the writer and the retention job; at the end write what is left, for a bounded time.

    It opens whether or not the database can be reached.
    """
    if settings.subject_secret is None:
        logger.warning(
            "EMOTION_SUBJECT_SECRET is not set: subjects are hashed with a random key, so that no other process, "
            "nor this one after a restart, recognises them"
        )
        secret = secrets.token_bytes(32)
    else:
        secret = settings.subject_secret.get_secret_value().encode()
    url = parse_url(settings.database_url.get_secret_value())
    engine = open_engine(url)
    store = OutcomeStore(engine)
    writer = OutcomeWriter(
        store,
        metrics,
        # A thread, because Alembic knows no event loop.
        migrate=lambda: asyncio.to_thread(migrate, url),
        secret=secret,
        capacity=settings.outcome_buffer,
        flush_s=settings.outcome_flush_s,
    )
    outcomes = Outcomes(settings, metrics, store, writer)
    pruning = asyncio.create_task(outcomes.keep_pruning(), name="retention")
    try:
        yield outcomes
    finally:
        # Each of them talks to the database, which may have gone silent.
        pruning.cancel()
        await asyncio.wait([pruning], timeout=_CLOSE_TIMEOUT_S)
        await writer.close(_CLOSE_TIMEOUT_S)
        disposing = asyncio.create_task(engine.dispose(), name="closing of connections")
        if (await asyncio.wait([disposing], timeout=_CLOSE_TIMEOUT_S))[1]:
            disposing.cancel()
            logger.warning("connections to the database are given up: they did not close in time")
