"""POST /feedback: what people say about a prediction."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.http import openapi
from api.http.callers import FeedbackCaller
from api.http.json_body import read_document
from api.http.state import OutcomesDep
from api.outcomes.feedback import take_feedback

PATH = "/feedback"
MAX_BYTES = 64 * 2**10
"""Of a body: JSON is parsed on the event loop."""

router = APIRouter(tags=["experiments"], dependencies=[FeedbackCaller])


class FeedbackIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prediction_id: str = Field(description="`id` of the answer.")
    face: int = Field(
        0, ge=0, lt=2**31, strict=True, description="Which of its faces, from 0; a batch's are counted right through."
    )
    emotion: str | None = Field(None, description="What the face really shows. Tells more than `correct`.")
    correct: bool | None = Field(None, strict=True, description="Whether the predicted emotion is right.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.emotion is None) == (self.correct is None):
            raise ValueError("give exactly one of emotion and correct")
        return self


class FeedbackOut(BaseModel):
    """What is stored now."""

    prediction_id: str
    face: int
    emotion: str | None
    correct: bool = Field(description="Where an emotion was given: whether it is the predicted one.")
    predicted: str = Field(description="The emotion that was predicted.")
    received_at: datetime


@router.post(
    PATH,
    summary="Say what a face really shows",
    responses=openapi.FEEDBACK_PROBLEMS,
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": FeedbackIn.model_json_schema()}}}
    },
)
async def give_feedback(request: Request, outcomes: OutcomesDep) -> FeedbackOut:
    """One word per face: sent again it changes nothing, and the last one to arrive wins.

    It may be sent as soon as the prediction has been answered, and until the retention time has passed. An id of the
    last minute or so that is not stored gets 503, because another gateway may still have to store it: try again later.
    """
    body = await read_document(request, FeedbackIn)
    stored, prediction = await take_feedback(
        outcomes, body.prediction_id, body.face, emotion=body.emotion, correct=body.correct
    )
    return FeedbackOut(
        prediction_id=stored.prediction_id,
        face=stored.face,
        emotion=stored.emotion,
        correct=stored.correct,
        predicted=prediction.emotions[stored.face],
        received_at=stored.received_at,
    )
