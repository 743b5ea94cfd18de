"""The one renderer of everything that goes wrong: application/problem+json (RFC 9457)."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

import faces.errors
from api import errors
from api.errors import InternalError, InvalidParameter, ServiceError
from api.observe.metrics import Metrics
from faces.errors import FaceError

logger = logging.getLogger(__name__)


_OF_FACES: dict[type[FaceError], type[ServiceError]] = {
    faces.errors.UnreadableImage: errors.UnreadableImage,
    faces.errors.UnsupportedFormat: errors.UnsupportedFormat,
    faces.errors.TooLarge: errors.TooLarge,
    faces.errors.OutOfMemory: errors.Overloaded,
}


class _FrameworkError(ServiceError):
    """An error that Starlette raised by itself, such as an unknown path (RFC 9457: about:blank)."""

    def __init__(self, error: HTTPException, path: str) -> None:
        detail = f"There is nothing at {path}." if error.status_code == 404 else str(error.detail)
        super().__init__(detail)
        self._error = error
        phrase = HTTPStatus(error.status_code).phrase
        self.status, self.title, self.slug = error.status_code, phrase, phrase.lower().replace(" ", "-")

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._error.headers or {})

    def problem(self) -> dict[str, Any]:
        return super().problem() | {"type": "about:blank"}


def noted(error: Exception, metrics: Metrics, path: str = "") -> ServiceError:
    """Any exception as one that can be rendered, counted by its type; what nobody expected goes to the log.

    Args:
        path: of the request.
    """
    found = _as_service_error(error, path)
    if isinstance(found, InternalError):
        logger.error("unexpected error" if type(found) is InternalError else found.title, exc_info=error)
    metrics.errors.labels(found.slug).inc()
    return found


def _as_service_error(error: Exception, path: str) -> ServiceError:
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return InvalidParameter(dict(map(_field_and_message, error.errors())))
        case HTTPException(status_code=400, __cause__=ServiceError() as ours):
            # FastAPI hides what goes wrong while it reads a body, such as our limit.
            return ours
        case HTTPException():
            return _FrameworkError(error, path)
        case FaceError() if type(error) in _OF_FACES:
            return _OF_FACES[type(error)](error.detail, **error.members)
        case faces.errors.DetectorFailed():
            return errors.DetectorFailed()
    return InternalError()


def _field_and_message(error: Mapping[str, Any]) -> tuple[str, str]:
    # FastAPI's locations begin with where the field was: ("query", "max_faces").
    where, *names = error["loc"]
    if error["type"] == "json_invalid":
        return where, f"is not JSON: {error['ctx']['error']} at character {names[0] + 1}"
    return ".".join(map(str, names)) or where, error["msg"].removeprefix("Value error, ")


def problem_response(error: Exception, metrics: Metrics, path: str = "") -> JSONResponse:
    """The one renderer: application/problem+json."""
    found = noted(error, metrics, path)
    problem = found.problem()
    return JSONResponse(problem, problem["status"], found.headers, "application/problem+json")


def _slugs(kind: type[ServiceError]) -> set[str]:
    own = {kind.slug} if "slug" in vars(kind) else set()
    return own.union(*map(_slugs, kind.__subclasses__()))


def install_error_handler(app: FastAPI, metrics: Metrics) -> None:
    """Render our errors and those of FastAPI and Starlette alike; the rest reaches RequestContext."""
    # An increase over a series needs it from the start, not from the first error.
    for slug in sorted(_slugs(ServiceError)):
        metrics.errors.labels(slug)

    async def handle(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error.__cause__, ClientDisconnect):
            raise error.__cause__
        return problem_response(error, metrics, request.url.path)

    for kind in (ServiceError, FaceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
