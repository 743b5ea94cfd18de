"""What endpoints ask for by type."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from api.drain import Drain
from api.errors import InvalidParameter, UnknownModel
from api.experiments.config import SubjectSource
from api.experiments.split import FORCE_HEADER, Assignment, assign
from api.gateway import Gateway
from api.model_client import Target
from api.pipeline import FaceOptions
from api.schemas import PredictQuery
from api.settings import Settings


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def _drain(request: Request) -> Drain:
    drain: Drain = request.app.state.drain
    return drain


GatewayDep = Annotated[Gateway, Depends(_gateway)]
DrainDep = Annotated[Drain, Depends(_drain)]
QueryDep = Annotated[PredictQuery, Query()]


def choose_target(query: PredictQuery, gateway: Gateway) -> Target:
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


def choose(
    request: Request,
    query: QueryDep,
    gateway: GatewayDep,
    variant: Annotated[
        str | None,
        Header(alias=FORCE_HEADER, description="Variant of the running experiment to get, whatever its split says."),
    ] = None,
) -> Target | Assignment:
    """A variant of the running experiment, unless the request names a model, version or label, or none runs.

    Raises what choose_target() raises, and InvalidParameter for a variant that cannot be had.
    """
    target = choose_target(query, gateway)
    if not {query.model, query.version, query.label} <= {None}:
        if variant is not None:
            raise InvalidParameter({FORCE_HEADER: "not together with model, version or label"})
        return target
    experiment = gateway.experiments.current.running(datetime.now(UTC))
    if experiment is None:
        if variant is not None:
            raise InvalidParameter({FORCE_HEADER: "no experiment is running"})
        return target
    return assign(experiment, _subject(request, experiment.subject), variant)


def _subject(request: Request, source: SubjectSource) -> str | None:
    if source.header is not None:
        given = request.headers.get(source.header)
    else:
        given = request.cookies.get(source.cookie or "")
    # An empty one would put everybody who sends it into the same bucket.
    return given or None


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


AskedDep = Annotated[Target | Assignment, Depends(choose)]
OptionsDep = Annotated[FaceOptions, Depends(face_options)]
