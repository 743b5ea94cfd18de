"""What endpoints ask for by type."""

from typing import Annotated

from fastapi import Depends, Query, Request

from api.errors import InvalidParameter, UnknownModel
from api.gateway import Gateway
from api.model_client import Target
from api.pipeline import FaceOptions
from api.schemas import PredictQuery
from api.settings import Settings


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayDep = Annotated[Gateway, Depends(_gateway)]
QueryDep = Annotated[PredictQuery, Query()]


def choose_target(query: QueryDep, gateway: GatewayDep) -> Target:
    """What to ask, from the query or the settings' defaults. Raises InvalidParameter or UnknownModel."""
    if query.version is not None and query.label is not None:
        message = "give version or label, not both"
        raise InvalidParameter({"version": message, "label": message})
    model = query.model if query.model is not None else gateway.settings.default_model
    if model not in gateway.settings.models:
        # Only configured names go on: the rest of the model server is not the client's to explore.
        raise UnknownModel(repr(model), gateway.settings.models)
    if query.version is None and query.label is None:
        return default_target(gateway.settings, model)
    return Target(model, query.version, query.label)


def default_target(settings: Settings, model: str) -> Target:
    """What a request that names neither version nor label gets; the default label is the default model's."""
    return Target(model, label=settings.default_label if model == settings.default_model else None)


def face_options(query: QueryDep, gateway: GatewayDep) -> FaceOptions:
    """Raises InvalidParameter when max_faces passes the settings' limit."""
    limit = gateway.settings.max_faces
    if query.max_faces is not None and query.max_faces > limit:
        raise InvalidParameter({"max_faces": f"{query.max_faces} is more than the limit of {limit}"})
    return FaceOptions(
        max_faces=query.max_faces or limit,
        min_face=query.min_face or gateway.settings.min_face,
        detect=query.crop == "detect",
    )


TargetDep = Annotated[Target, Depends(choose_target)]
OptionsDep = Annotated[FaceOptions, Depends(face_options)]
