"""What endpoints make of a request before they run: what it asks for, how faces are found, whose key it has."""

import hmac
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import APIKeyHeader

from api.errors import AdminDisabled, InvalidParameter, Unauthorized, UnknownModel
from api.experiments.assignment import FORCE_HEADER, Assignment, assign
from api.experiments.config import SubjectSource
from api.http.schemas import PredictQuery
from api.http.state import DetectorsDep, ExperimentsDep, SettingsDep
from faces.finder import FaceOptions
from wire.target import Target

ADMIN_HEADER = "X-Admin-Key"

_admin_header = APIKeyHeader(name=ADMIN_HEADER, auto_error=False, description="The value of EMOTION_ADMIN_KEY.")

QueryDep = Annotated[PredictQuery, Query()]


async def choose(
    request: Request,
    query: QueryDep,
    settings: SettingsDep,
    experiments: ExperimentsDep,
    forced: Annotated[
        str | None,
        Header(alias=FORCE_HEADER, description="Variant of the running experiment to get, whatever its split says."),
    ] = None,
) -> Target | Assignment:
    """A variant of the running experiment, unless the request names a model, version or label, or none runs.

    Raises:
        InvalidParameter: version and label contradict each other, the variant cannot be had, or the subject is not
            UTF-8.
        UnknownModel: it is not one of the settings'.
    """
    if query.version is not None and query.label is not None:
        message = "give version or label, not both"
        raise InvalidParameter({"version": message, "label": message})
    model = settings.default_model if query.model is None else query.model
    if model not in settings.models:
        # Only configured names go on: the rest of the model server is not the client's to explore.
        raise UnknownModel(repr(model), settings.models)
    named = not {query.model, query.version, query.label} <= {None}
    experiment = None if named else experiments.current.running(datetime.now(UTC))
    if experiment is None:
        if forced is not None:
            conflict = "not together with model, version or label" if named else "no experiment is running"
            raise InvalidParameter({FORCE_HEADER: conflict})
        # The default label is the default model's.
        default = query.version is None and query.label is None and model == settings.default_model
        return Target(model, query.version, settings.default_label if default else query.label)
    # An empty one would put everybody who sends it into the same bucket.
    return assign(experiment, _subject(request, experiment.subject) or None, forced)


def _subject(request: Request, source: SubjectSource) -> str | None:
    given = request.headers.get(source.header) if source.header else request.cookies.get(source.cookie or "")
    try:
        # Starlette reads headers as Latin-1.
        return given and given.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise InvalidParameter({source.header or source.cookie or "": "is not UTF-8"}) from error


async def face_options(query: QueryDep, settings: SettingsDep, detectors: DetectorsDep) -> FaceOptions:
    """
    Raises:
        InvalidParameter: max_faces passes the settings' limit, or the detector cannot be had here.
    """
    limit = settings.max_faces
    if query.max_faces is not None and query.max_faces > limit:
        raise InvalidParameter({"max_faces": f"{query.max_faces} is more than the limit of {limit}"})
    detector = detectors.default if query.detector in (None, "auto") else query.detector
    if detector not in detectors.by_name:
        raise InvalidParameter({"detector": f"{detector!r} is not here; there are {', '.join(detectors.by_name)}"})
    return FaceOptions(
        max_faces=query.max_faces or limit,
        min_face=query.min_face or settings.min_face,
        detector=detector if query.crop == "detect" else None,
        align=query.align == "on",
        rotate=query.rotate == "auto",
    )


async def caller_of(request: Request) -> str:
    """Whose share of the gateway a request takes: its address, as the proxies tell it that uvicorn trusts."""
    return request.client.host if request.client else ""


async def require_admin(settings: SettingsDep, given: Annotated[str | None, Security(_admin_header)]) -> None:
    """
    Raises:
        AdminDisabled: the settings have no key, and none is open by default.
        Unauthorized: the request has another one, or none.
    """
    if settings.admin_key is None:
        raise AdminDisabled("This gateway has no EMOTION_ADMIN_KEY, so its endpoints for operators are closed.")
    key = settings.admin_key.get_secret_value().encode()
    # Compared in constant time, so that the time of a refusal tells nothing of the key.
    # As in _subject(): Latin-1 gives the bytes that were sent.
    if given is None or not hmac.compare_digest(given.encode("latin-1"), key):
        raise Unauthorized(f"{ADMIN_HEADER} is {'missing' if given is None else 'wrong'}.", header=ADMIN_HEADER)


AskedDep = Annotated[Target | Assignment, Depends(choose)]
OptionsDep = Annotated[FaceOptions, Depends(face_options)]
CallerDep = Annotated[str, Depends(caller_of)]
AdminDep = Depends(require_admin)
