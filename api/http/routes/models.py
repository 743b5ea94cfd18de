"""GET /models: what the model server serves."""

import asyncio

from fastapi import APIRouter

from api.errors import BadModelAnswer, NotServed, UnknownModel, VersionNotLoaded
from api.http import openapi
from api.http.dependencies import GatewayDep
from api.http.schemas import ModelsResponse, ModelVersions, VersionOut
from api.model.client import AVAILABLE, VersionStatus
from api.predictor import Gateway

router = APIRouter(tags=["models"])


@router.get("/models", summary="Models, versions, labels and classes", responses=openapi.MODELS_PROBLEMS)
async def list_models(gateway: GatewayDep) -> ModelsResponse:
    """Asked of the model server at every call, for the models and labels in the gateway's settings."""
    models = await asyncio.gather(*(_model(gateway, name) for name in gateway.settings.models))
    return ModelsResponse(models=models)


async def _model(gateway: Gateway, name: str) -> ModelVersions:
    default = name == gateway.settings.default_model
    try:
        statuses = await gateway.client.versions(name)
    except UnknownModel:
        return ModelVersions(name=name, default=default, versions=[])
    labels = await gateway.client.labels(name)
    versions = await asyncio.gather(*(_version(gateway, name, status, labels) for status in statuses))
    return ModelVersions(name=name, default=default, versions=versions)


async def _version(gateway: Gateway, name: str, status: VersionStatus, labels: dict[str, int]) -> VersionOut:
    classes, error = None, status.error
    if status.state == AVAILABLE:
        try:
            classes = list(await gateway.client.classes(name, status.version))
        except (BadModelAnswer, NotServed, VersionNotLoaded) as failure:
            # One version that breaks the contract or has just been unloaded must not hide the others.
            error = failure.detail
    return VersionOut(
        version=status.version,
        state=status.state,
        error=error,
        labels=sorted(label for label, version in labels.items() if version == status.version),
        classes=classes,
    )
