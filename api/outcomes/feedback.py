"""What people say about a face: found its prediction, judged and stored."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError

from api.deadline import within
from api.errors import InvalidParameter, OutcomesUnavailable, PredictionExpired, UnknownPrediction
from api.outcomes.ids import made_at
from api.outcomes.store import DATABASE_ERRORS, Feedback, StoredPrediction
from api.outcomes.writer import OutcomeWriter

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10

# How long feedback on an id that is not there waits for another replica to write it, and how often it looks.
_PATIENCE_S, _LOOK_EVERY_S = 3, 0.2

# The other replica may have a backlog, or a clock of its own: for so long nobody can say that there is no such id.
_GRACE_S = 60


async def take_feedback(
    outcomes: OutcomeWriter, prediction_id: str, face: int, *, emotion: str | None, correct: bool | None
) -> tuple[Feedback, StoredPrediction]:
    """Store what somebody says about one face: its emotion, or else whether the prediction was correct.

    Raises:
        UnknownPrediction: There is none of that id.
        PredictionExpired: It is past the retention time.
        InvalidParameter: It has no such face or emotion.
        OutcomesUnavailable: The database fails, or the id is so young that another replica may still have to store it.
    """
    made = made_at(prediction_id)
    if made is None:
        raise UnknownPrediction(f"{prediction_id!r} is not the id of a prediction.")
    now = datetime.now(UTC)
    days = outcomes.settings.retention_days
    if now - made > timedelta(days=days):
        raise PredictionExpired(f"Predictions are kept for {days} days; this one is older.", limit=days, unit="days")
    async with within(_TIMEOUT_S, OutcomesUnavailable, f"The outcome database did not answer within {_TIMEOUT_S} s."):
        try:
            prediction = await _find(outcomes, prediction_id, age_s=(now - made).total_seconds())
            feedback = _judge(prediction, face, emotion, correct, now)
            await outcomes.store.put_feedback(feedback)
        except IntegrityError as error:
            raise UnknownPrediction(f"Prediction {prediction_id} has just been deleted.") from error
        except DATABASE_ERRORS as error:
            logger.warning("feedback is refused, because the database fails: %s", type(error).__name__)
            raise OutcomesUnavailable("Feedback cannot be stored at the moment.") from error
    names = (prediction.experiment or "", prediction.variant or "")
    outcomes.metrics.feedback.labels(*names, str(feedback.correct).lower()).inc()
    return feedback, prediction


async def _find(outcomes: OutcomeWriter, prediction_id: str, age_s: float) -> StoredPrediction:
    await outcomes.written(prediction_id)
    # By then every replica without a backlog has written it.
    written_s = 2 * outcomes.settings.outcome_flush_s
    young = -_GRACE_S < age_s < written_s + _GRACE_S
    loop = asyncio.get_running_loop()
    end = loop.time() + (min(written_s - age_s, _PATIENCE_S) if young else 0)
    # It polls, because another process writes what is looked for.
    while (found := await outcomes.store.find(prediction_id)) is None and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_EVERY_S)
    if found is not None:
        return found
    if young:
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
