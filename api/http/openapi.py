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
_ANY = (errors.InvalidParameter, errors.ShuttingDown, errors.InternalError)

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

PREDICT_PROBLEMS = _problems(*_SHARED, errors.DetectorFailed)
BATCH_PROBLEMS = _problems(*_SHARED)
MODELS_PROBLEMS = _problems(*_ANY, *_MODEL_SERVER)
READY_PROBLEMS = _problems(errors.NotReady, errors.ShuttingDown, errors.InternalError)
_ADMIN = (*_ANY, errors.AdminDisabled, errors.Unauthorized)
FEEDBACK_PROBLEMS = _problems(
    errors.UnreadableBody,
    *_ADMIN,
    errors.UnknownPrediction,
    errors.PredictionExpired,
    errors.TooLarge,
    errors.OutcomesUnavailable,
)
REPORT_PROBLEMS = _problems(*_ADMIN, errors.UnknownExperiment, errors.OutcomesUnavailable)
ADMIN_PROBLEMS = _problems(*_ADMIN)
ASSIGNMENT_PROBLEMS = _problems(*_ADMIN, errors.UnknownExperiment)
