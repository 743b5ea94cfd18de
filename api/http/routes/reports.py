"""GET /experiments/{name}/report: which variant is better, and what to do."""

import asyncio
import importlib
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from api.deadline import within
from api.errors import OutcomesUnavailable
from api.http import openapi
from api.http.dependencies import AdminDep, GatewayDep
from api.outcomes.store import DATABASE_ERRORS
from api.reports.html import render
from api.reports.schema import Report

router = APIRouter(tags=["experiments"], dependencies=[AdminDep])

_TIMEOUT_S = 30


class ReportQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    effect: float = Field(0.02, ge=0.001, le=0.5, description="Difference of accuracy that is worth finding.")
    power: float = Field(0.8, ge=0.5, le=0.99, description="Chance to find it, for the number of faces still needed.")
    format: Literal["json", "html"] | None = Field(
        None, description="What to answer with; as `Accept` says when absent, and JSON when that leaves it open."
    )


@router.get(
    "/experiments/{name}/report",
    summary="Which variant is better",
    response_model=Report,
    responses=openapi.REPORT_PROBLEMS | {200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def report(
    name: str, query: Annotated[ReportQuery, Query()], request: Request, gateway: GatewayDep
) -> Report | Response:
    """Accuracy by feedback, latency and emotions of each variant, each compared with the control.

    It may be looked at as often as one likes: the verdict rests on tests that stay valid. Experiments that are no
    longer in the configuration have a report for as long as their predictions are kept.
    """
    outcomes = gateway.outcomes
    for experiment in gateway.experiments.current.experiments:
        outcomes.note_split(experiment)
    configured = gateway.experiments.current.find(name)
    late = OutcomesUnavailable(f"The outcome database did not answer within {_TIMEOUT_S} s.")
    async with within(_TIMEOUT_S, late):
        await outcomes.ready()
        # SciPy takes a second to import, for which neither the gateway's start nor the event loop is held up.
        reports = await asyncio.to_thread(importlib.import_module, "api.reports.report")
        try:
            built: Report = await reports.build_report(
                outcomes.store,
                name,
                effect=query.effect,
                power=query.power,
                present=configured.split_id if configured else None,
            )
        except DATABASE_ERRORS as error:
            raise OutcomesUnavailable("Outcomes cannot be read at the moment.") from error
    if query.format == "html" or (query.format is None and _prefers_html(request.headers.get("accept", ""))):
        return HTMLResponse(render(built), headers={"Cache-Control": "no-store"})
    return built


def _prefers_html(accept: str) -> bool:
    """Browsers name text/html before anything that would also match JSON."""
    kinds = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    return "text/html" in kinds and "application/json" not in kinds[: kinds.index("text/html")]
