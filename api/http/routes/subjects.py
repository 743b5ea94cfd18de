"""DELETE /outcomes: forget a subject."""

from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

from api.errors import OutcomesUnavailable
from api.http import openapi
from api.http.callers import AdminCaller
from api.http.dependencies import utf8
from api.http.state import OutcomesDep
from api.outcomes.store import DATABASE_ERRORS
from api.outcomes.subjects import erase

HEADER = "X-Subject-ID"

router = APIRouter(tags=["experiments"], dependencies=[AdminCaller])


class Erased(BaseModel):
    predictions: int = Field(description="Deleted, with their faces and feedback.")


@router.delete("/outcomes", summary="Forget a subject", responses=openapi.ERASE_PROBLEMS)
async def erase_outcomes(
    outcomes: OutcomesDep, subject: Annotated[str, Header(alias=HEADER, min_length=1, description="Whom to forget.")]
) -> Erased:
    """Deletes all predictions of a subject. It is named in a header, because paths are logged.

    Predictions of the last second may still wait in other gateways: ask again a minute later.
    """
    named = utf8(HEADER, subject)
    try:
        return Erased(predictions=await erase(outcomes, named))
    except DATABASE_ERRORS as error:
        raise OutcomesUnavailable("Outcomes cannot be deleted at the moment.") from error
