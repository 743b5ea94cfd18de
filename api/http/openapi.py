"""What FastAPI cannot tell by itself: bodies that are read by hand, and problems."""

import base64
from pathlib import Path
from typing import Any

from api import errors
from api.errors import ServiceError
from api.http.schemas import Base64Body
from api.http.uploads import JSON, MULTIPART, RAW

_Responses = dict[int | str, dict[str, Any]]

_FACE = Path(__file__).parents[1] / "samples" / "face.jpg"
_BINARY = {"type": "string", "format": "binary"}


def _form(schema: dict[str, Any], field: str) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [field], "properties": {field: schema}}}


IMAGE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        MULTIPART: _form(_BINARY, "file"),
        JSON: {
            "schema": Base64Body.model_json_schema(),
            # A whole photo, so that "Try it out" gives a face.
            "example": {"image": base64.b64encode(_FACE.read_bytes()).decode()},
        },
        **{kind: {"schema": _BINARY} for kind in RAW},
    },
}

PICTURE: _Responses = {200: {"content": {"image/png": {"schema": _BINARY}}, "description": "The photo, annotated."}}
PICTURES: _Responses = {
    200: {
        "description": "The faces; by `Accept: image/png` or `image/jpeg` the photo, annotated.",
        "content": {kind: {"schema": _BINARY} for kind in ("image/png", "image/jpeg")},
    }
}

HEAT_PICTURES: _Responses = {
    200: PICTURES[200] | {"description": "Heat maps; by `Accept: image/png` or `image/jpeg` the photo with them on it."}
}

IMAGE_FORM: dict[str, Any] = {"required": True, "content": {MULTIPART: _form(_BINARY, "image")}}

BATCH_BODY: dict[str, Any] = {
    "required": True,
    "content": {MULTIPART: _form({"type": "array", "items": _BINARY}, "files")},
}


def _problems(*kinds: type[ServiceError]) -> _Responses:
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        titles.setdefault(kind.status, []).append(f"{kind.title} (`{errors.TYPE_PREFIX}{kind.slug}`)")
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "description": "; ".join(names),
            "content": {"application/problem+json": schema},
        }
        for status, names in sorted(titles.items())
    }


_MODEL_SERVER = (
    errors.BadModelAnswer,
    errors.ModelServerUnavailable,
    errors.DeadlineExceeded,
)

# Of every endpoint of the API.
_ANY = (
    errors.InvalidParameter,
    errors.Unauthorized,
    errors.Forbidden,
    errors.AdminDisabled,
    errors.RateLimited,
    errors.TooManyGuesses,
    errors.ShuttingDown,
    errors.InternalError,
)

_SHARED = (
    *_ANY,
    errors.UnreadableImage,
    errors.UnknownModel,
    errors.UnknownVersion,
    errors.UnknownLabel,
    errors.UploadTimeout,
    errors.TooLarge,
    errors.UnsupportedFormat,
    *_MODEL_SERVER,
    errors.VersionNotLoaded,
    errors.Overloaded,
)

PREDICT_PROBLEMS = _problems(*_SHARED, errors.NotAcceptable, errors.DetectorFailed)
EXPLAIN_PROBLEMS = _problems(*_SHARED, errors.NotAcceptable, errors.NotExplained, errors.DetectorFailed)
CLASSIFY_PROBLEMS = _problems(*_SHARED, errors.DetectorFailed)
BATCH_PROBLEMS = _problems(*_SHARED)
MODELS_PROBLEMS = _problems(*_ANY, *_MODEL_SERVER)
READY_PROBLEMS = _problems(errors.NotReady, errors.ShuttingDown, errors.InternalError)
FEEDBACK_PROBLEMS = _problems(
    *_ANY,
    errors.UploadTimeout,
    errors.UnsupportedFormat,
    errors.UnknownPrediction,
    errors.PredictionExpired,
    errors.TooLarge,
    errors.OutcomesUnavailable,
)
REPORT_PROBLEMS = _problems(*_ANY, errors.UnknownExperiment, errors.OutcomesUnavailable)
ADMIN_PROBLEMS = _problems(*_ANY)
ERASE_PROBLEMS = _problems(*_ANY, errors.OutcomesUnavailable)
ASSIGNMENT_PROBLEMS = _problems(*_ANY, errors.UnknownExperiment)
