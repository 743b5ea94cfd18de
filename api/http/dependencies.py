"""What endpoints ask for by type, and the key that those for operators ask for."""

import hmac
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import APIKeyHeader

from api.errors import AdminDisabled, InvalidParameter, Unauthorized, UnknownModel
from api.experiments.assignment import FORCE_HEADER, Assignment, assign
from api.experiments.config import SubjectSource
from api.http.schemas import PredictQuery
from api.predictor import Gateway
from api.server import Drain
from api.settings import Settings
from faces.finder import FaceOptions
from wire.target import Target

ADMIN_HEADER = "X-Admin-Key"

_admin_header = APIKeyHeader(name=ADMIN_HEADER, auto_error=False, description="The value of EMOTION_ADMIN_KEY.")


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


def require_admin(request: Request, given: Annotated[str | None, Security(_admin_header)]) -> None:
    """Raises AdminDisabled when the settings have no key, for none is open by default; else Unauthorized."""
    key = _gateway(request).settings.admin_key
    if key is None:
        raise AdminDisabled("This gateway has no EMOTION_ADMIN_KEY, so its endpoints for operators are closed.")
    # Compared in constant time, so that the time of a refusal tells nothing of the key.
    if given is None or not hmac.compare_digest(given.encode(), key.get_secret_value().encode()):
        raise Unauthorized(f"{ADMIN_HEADER} is {'missing' if given is None else 'wrong'}.", header=ADMIN_HEADER)


AskedDep = Annotated[Target | Assignment, Depends(choose)]
OptionsDep = Annotated[FaceOptions, Depends(face_options)]
AdminDep = Depends(require_admin)
