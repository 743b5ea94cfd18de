"""The one renderer of everything that goes wrong: application/problem+json (RFC 9457)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

import faces.errors
from api import errors
from api.errors import InternalError, InvalidParameter, ServiceError
from api.observe.metrics import Metrics
from faces.errors import FaceError

logger = logging.getLogger(__name__)


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


def as_service_error(error: Exception, path: str = "") -> ServiceError:
    """Any exception as one that can be rendered; an unexpected one is logged with its traceback."""
    if isinstance(error, FaceError):
        return _of_a_face(error)
    if isinstance(error, ServiceError):
        if isinstance(error, InternalError):
            logger.error(error.title, exc_info=error)
        return error
    if isinstance(error, RequestValidationError):
        return InvalidParameter({_field(e["loc"]): e["msg"] for e in error.errors()})
    if isinstance(error, HTTPException):
        return _FrameworkError(error, path)
    logger.error("unexpected error", exc_info=error)
    return InternalError()


def _of_a_face(error: FaceError) -> ServiceError:
    match error:
        case faces.errors.UnreadableImage():
            return errors.UnreadableImage(error.detail, **error.members)
        case faces.errors.UnsupportedFormat():
            return errors.UnsupportedFormat(error.detail, **error.members)
        case faces.errors.TooLarge():
            return errors.TooLarge(error.what, unit=error.unit, limit=error.limit, size=error.size)
        case faces.errors.OutOfMemory():
            return errors.Overloaded(error.detail, **error.members)
    failure = errors.DetectorFailed() if isinstance(error, faces.errors.DetectorFailed) else InternalError()
    logger.error(failure.title, exc_info=error)
    return failure


def _field(location: Sequence[int | str]) -> str:
    # FastAPI's locations begin with where the field was: ("query", "max_faces").
    return ".".join(map(str, location[1:])) or str(location[0])


def problem_response(error: Exception, metrics: Metrics, path: str = "") -> JSONResponse:
    """The one renderer: counts the error by type and returns it as application/problem+json."""
    service_error = as_service_error(error, path)
    problem = service_error.problem()
    metrics.count_error(service_error.slug)
    return JSONResponse(problem, problem["status"], service_error.headers, "application/problem+json")


def _slugs(kind: type[ServiceError]) -> set[str]:
    own = {kind.slug} if "slug" in vars(kind) else set()
    return own.union(*map(_slugs, kind.__subclasses__()))


def install_error_handler(app: FastAPI, metrics: Metrics) -> None:
    """Render our errors and those of FastAPI and Starlette alike; the rest reaches RequestContext."""
    metrics.expect_errors(sorted(_slugs(ServiceError)))

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return problem_response(error, metrics, request.url.path)

    for kind in (ServiceError, FaceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
