"""GET /experiments: what the traffic split does at the moment."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.errors import UnknownExperiment
from api.experiments.breaker import Breakers
from api.experiments.buckets import BUCKETS, bucket_of
from api.experiments.config import Experiment, ModelChoice, Shadow, Variant
from api.experiments.shadow import Shadows
from api.http import openapi
from api.http.callers import AdminCaller
from api.http.schemas import AssignmentOut, ExperimentOut, ExperimentsResponse, ShadowOut, SubjectOut, VariantOut
from api.http.state import ExperimentsDep, FallbackDep, ShadowsDep

router = APIRouter(tags=["experiments"], dependencies=[AdminCaller])


@router.get("/experiments", summary="Experiments and their state", responses=openapi.ADMIN_PROBLEMS)
async def list_experiments(
    experiments: ExperimentsDep, fallback: FallbackDep, shadows: ShadowsDep
) -> ExperimentsResponse:
    """Every experiment of experiments.yaml, in its order, and whether the file as it is now is the one in use."""
    listed = [_experiment(one, fallback.breakers, shadows) for one in experiments.current.experiments]
    return ExperimentsResponse(experiments=listed, error=experiments.error)


@router.get(
    "/experiments/{name}/assignment",
    summary="The variant of a subject",
    responses=openapi.ASSIGNMENT_PROBLEMS,
)
async def get_assignment(
    name: str, subject: Annotated[str, Query(min_length=1)], experiments: ExperimentsDep
) -> AssignmentOut:
    """Where the split puts a subject, whether or not the experiment is running."""
    config = experiments.current
    experiment = config.find(name)
    if experiment is None:
        raise UnknownExperiment(repr(name), [one.name for one in config.experiments])
    bucket = bucket_of(experiment.salt, subject)
    return AssignmentOut(experiment=name, bucket=bucket, variant=experiment.variant_of(bucket).name)


def _experiment(experiment: Experiment, breakers: Breakers, shadows: Shadows) -> ExperimentOut:
    return ExperimentOut(
        name=experiment.name,
        state=experiment.state(datetime.now(UTC)),
        start=experiment.start,
        end=experiment.end,
        subject=SubjectOut(header=experiment.subject.header, cookie=experiment.subject.cookie),
        control=experiment.control,
        variants=[
            _variant(variant, buckets, breakers)
            for variant, buckets in zip(experiment.variants, experiment.buckets, strict=True)
        ],
        shadow=[_shadow(experiment, shadow, shadows) for shadow in experiment.shadow],
    )


def _variant(variant: Variant, buckets: int, breakers: Breakers) -> VariantOut:
    return VariantOut(
        **_choice(variant),
        weight=variant.weight,
        share=buckets / BUCKETS,
        circuit=breakers[variant.target].state,
    )


def _shadow(experiment: Experiment, shadow: Shadow, shadows: Shadows) -> ShadowOut:
    stats = shadows.stats(experiment.name, shadow)
    return ShadowOut(
        **_choice(shadow),
        share=shadow.share,
        results=stats.results,
        faces=stats.faces,
        agreement=stats.agreement,
        divergence=stats.mean_divergence,
        dropped=stats.dropped,
        errors=stats.errors,
    )


def _choice(choice: ModelChoice) -> dict[str, Any]:
    return {"name": choice.name, "model": choice.model, "version": choice.version, "label": choice.label}
