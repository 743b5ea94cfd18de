"""What endpoints make of a request before they run: what it asks for, and how faces are found."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from starlette.requests import HTTPConnection

from api.errors import InvalidParameter, UnknownModel
from api.experiments.assignment import FORCE_HEADER, Assignment, assign
from api.experiments.config import Experiment, SubjectSource
from api.experiments.file import Experiments
from api.http.callers import PredictCaller
from api.http.schemas import PredictQuery
from api.http.state import CallersDep, DetectorsDep, ExperimentsDep, SettingsDep
from api.settings import Settings
from faces.detect.choice import Detectors
from faces.finder import FaceOptions
from wire.target import Target

QueryDep = Annotated[PredictQuery, Query()]


async def choose(
    request: Request,
    query: QueryDep,
    settings: SettingsDep,
    experiments: ExperimentsDep,
    callers: CallersDep,
    caller: PredictCaller,
    forced: Annotated[
        str | None,
        Header(
            alias=FORCE_HEADER,
            description="Variant of the running experiment to get, whatever its split says. Takes a key of scope"
            " `test`, unless experiments.yaml says `forced: open`.",
        ),
    ] = None,
) -> Target | Assignment:
    """A variant of the running experiment, unless the request names a model, version or label, or none runs.

    Raises:
        InvalidParameter: version and label contradict each other, the variant cannot be had, or the subject is not
            UTF-8.
        UnknownModel: it is not one of the settings'.
        Unauthorized, Forbidden, AdminDisabled: a variant is not the caller's to name.
    """
    found = target_or_experiment(query, settings, experiments)
    if not isinstance(found, Experiment):
        if forced is not None:
            conflict = "not together with model, version or label" if _named(query) else "no experiment is running"
            raise InvalidParameter({FORCE_HEADER: conflict})
        return found
    if forced is not None and experiments.current.forced != "open":
        callers.require(caller, "test")
    # An empty one would put everybody who sends it into the same bucket.
    return assign(found, subject_of(request, found.subject) or None, forced)


def target_or_experiment(query: PredictQuery, settings: Settings, experiments: Experiments) -> Target | Experiment:
    """What is asked for by name; where nothing is named, the experiment that runs, if one does.

    Raises:
        InvalidParameter: version and label contradict each other.
        UnknownModel: it is not one of the settings'.
    """
    if query.version is not None and query.label is not None:
        message = "give version or label, not both"
        raise InvalidParameter({"version": message, "label": message})
    model = settings.default_model if query.model is None else query.model
    if model not in settings.models:
        # Only configured names go on: the rest of the model server is not the client's to explore.
        raise UnknownModel(repr(model), settings.models)
    experiment = None if _named(query) else experiments.current.running(datetime.now(UTC))
    if experiment is not None:
        return experiment
    # The default label is the default model's.
    default = query.version is None and query.label is None and model == settings.default_model
    return Target(model, query.version, settings.default_label if default else query.label)


def _named(query: PredictQuery) -> bool:
    return not {query.model, query.version, query.label} <= {None}


def subject_of(request: HTTPConnection, source: SubjectSource) -> str | None:
    """Who asks, by the header or cookie that an experiment names.

    Raises:
        InvalidParameter: it is not UTF-8.
    """
    given = request.headers.get(source.header) if source.header else request.cookies.get(source.cookie or "")
    return given and utf8(source.header or source.cookie or "", given)


def utf8(name: str, given: str) -> str:
    """The text of a header or cookie, as Starlette gives it: read as Latin-1.

    Raises:
        InvalidParameter: it is not UTF-8.
    """
    try:
        return given.encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise InvalidParameter({name: "is not UTF-8"}) from error


async def face_options(query: QueryDep, settings: SettingsDep, detectors: DetectorsDep) -> FaceOptions:
    """Raises as find_options() does."""
    return find_options(query, settings, detectors)


def find_options(query: PredictQuery, settings: Settings, detectors: Detectors) -> FaceOptions:
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


AskedDep = Annotated[Target | Assignment, Depends(choose)]
OptionsDep = Annotated[FaceOptions, Depends(face_options)]
