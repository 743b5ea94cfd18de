"""GET /experiments/{name}/report: which variant is better, and what to do."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.deadline import within
from api.errors import OutcomesUnavailable
from api.http import openapi
from api.http.callers import ReportCaller
from api.http.state import CountsDep, ExperimentsDep, OutcomesDep
from api.reports.report import build_report
from api.reports.schema import Report

router = APIRouter(tags=["experiments"], dependencies=[ReportCaller])

_TIMEOUT_S = 30


class ReportQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    effect: float = Field(0.02, ge=0.001, le=0.5, description="Difference of accuracy that is worth finding.")
    power: float = Field(0.8, ge=0.5, le=0.99, description="Chance to find it, for the number of faces still needed.")
    fresh: bool = Field(False, description="Count anew. That may take the database a while.")
    format: Literal["json"] = Field("json", description="There is no other; clients of 0.1.0 may name it.")


@router.get(
    "/experiments/{name}/report",
    summary="Which variant is better",
    responses=openapi.REPORT_PROBLEMS,
)
async def get_report(
    name: str,
    query: Annotated[ReportQuery, Query()],
    experiments: ExperimentsDep,
    outcomes: OutcomesDep,
    counts: CountsDep,
) -> Report:
    """Accuracy by feedback, latency and emotions of each variant, each compared with the control.

    It may be looked at as often as one likes: the verdict rests on tests that stay valid. Experiments that are no
    longer in the configuration have a report for as long as their predictions are kept. Counts of many predictions are
    up to five minutes old; `age_s` tells.
    """
    configured = experiments.current.find(name)
    async with within(_TIMEOUT_S, OutcomesUnavailable, f"The outcome database did not answer within {_TIMEOUT_S} s."):
        await outcomes.ready()
        counted = await counts.get(name, configured.split_id if configured else None, fresh=query.fresh)
    age_s = round(counted.age_s, 3)
    return build_report(counted.split, counted.tallies, effect=query.effect, power=query.power, age_s=age_s)
