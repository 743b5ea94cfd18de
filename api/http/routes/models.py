"""GET /models: what the model server serves."""

import asyncio

from fastapi import APIRouter

from api.errors import BadModelAnswer, NotServed, UnknownModel, VersionNotLoaded
from api.http import openapi
from api.http.callers import PredictCaller
from api.http.schemas import ModelsResponse, ModelVersions, VersionOut
from api.http.state import ClientDep, SettingsDep
from api.model.client import AVAILABLE, ModelClient, VersionStatus

router = APIRouter(tags=["models"])


@router.get("/models", summary="Models, versions, labels and classes", responses=openapi.MODELS_PROBLEMS)
async def list_models(settings: SettingsDep, client: ClientDep, _: PredictCaller) -> ModelsResponse:
    """Asked of the model server at every call, for the models and labels in the gateway's settings."""
    models = await asyncio.gather(*(_model(client, name, name == settings.default_model) for name in settings.models))
    return ModelsResponse(models=models)


async def _model(client: ModelClient, name: str, default: bool) -> ModelVersions:
    try:
        statuses = await client.versions(name)
    except UnknownModel:
        return ModelVersions(name=name, default=default, versions=[])
    labels = await client.labels(name)
    versions = await asyncio.gather(*(_version(client, name, status, labels) for status in statuses))
    return ModelVersions(name=name, default=default, versions=versions)


async def _version(client: ModelClient, name: str, status: VersionStatus, labels: dict[str, int]) -> VersionOut:
    facts, error = None, status.error
    if status.state == AVAILABLE:
        try:
            facts = await client.facts(name, status.version)
        except (BadModelAnswer, NotServed, VersionNotLoaded) as failure:
            # One version that breaks the contract or has just been unloaded must not hide the others.
            error = failure.detail
    return VersionOut(
        version=status.version,
        state=status.state,
        error=error,
        labels=sorted(label for label, version in labels.items() if version == status.version),
        classes=list(facts.classes) if facts else None,
        unclear_below=facts.unclear_below if facts else None,
    )
