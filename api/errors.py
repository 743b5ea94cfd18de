"""What can go wrong, as exceptions that know their HTTP status. api/http/problems renders them.

    ServiceError
    ├── InvalidParameter        422  a query parameter, form field or JSON member is wrong
    ├── ImageError
    │   ├── UnreadableImage     400  empty, truncated or corrupt
    │   ├── UnsupportedFormat   415  none of the formats we read
    │   └── TooLarge            413  over the byte or pixel limit
    ├── BadRequest              400  no HTTP
    ├── HeadTimeout             408  the client sent its header fields too slowly
    ├── UriTooLong              414
    ├── HeadTooLarge            431
    ├── Unauthorized            401  the key is missing, wrong or past its time
    ├── Forbidden               403  the key may do other things
    ├── AdminDisabled           403  the gateway has no key that would do
    ├── Throttled               429  with Retry-After
    │   ├── RateLimited              more than the key may send
    │   └── TooManyGuesses           wrong keys from one address
    ├── UploadTimeout           408  the client sent its body too slowly
    ├── NotServed
    │   ├── UnknownModel        404
    │   ├── UnknownVersion      404
    │   ├── UnknownLabel        404
    │   └── UnknownExperiment   404
    ├── UnknownPrediction       404
    ├── NotExplained            501  the model version has no signature `explain`
    ├── NotAcceptable           406  the client takes none of what we have
    ├── PredictionExpired       410  past the retention time
    ├── Unavailable             503  with Retry-After
    │   ├── ModelServerUnavailable   unreachable, or refusing work
    │   ├── VersionNotLoaded         known to the model server, not AVAILABLE
    │   ├── Overloaded               the gateway's own queue is full
    │   ├── TooManyConnections       as many are open as may be
    │   ├── OutcomesUnavailable      the outcome database is down, slow or full
    │   ├── NotReady                 the answer of /readyz
    │   └── ShuttingDown             the answer of /readyz, and of what the end cuts short
    ├── DeadlineExceeded        504
    ├── BadModelAnswer          502  the model server broke the model contract
    └── InternalError           500  ours
        └── DetectorFailed      500

Every answer that is an error is `application/problem+json` (RFC 9457). `type` is stable: clients may branch
on it.
"""

# ruff: noqa: N818 - a client reads the name as what went wrong; the suffix Error on each would add nothing.

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from api.observe.request_id import request_id

TYPE_PREFIX = "urn:problem-type:emotion-serving:"

MAX_NAMED = 10
"""How many of a request's errors are named: an answer must not grow with what is wrong."""
# Characters of what is shown of a name that a client made up, and of what is wrong with it.
_MAX_FIELD, _MAX_MESSAGE = 100, 500


class ServiceError(Exception):
    """Base of every error that a client sees."""

    status = 500
    slug = "internal-error"
    title = "Internal error"

    def __init__(self, detail: str, **members: Any) -> None:
        """
        Args:
            detail: one sentence for people.
            members: extra members of the problem document, such as the limit passed.
        """
        super().__init__(detail)
        self.detail = detail
        self.members = members

    @property
    def headers(self) -> dict[str, str]:
        return {}

    def problem(self) -> dict[str, Any]:
        """The members of the RFC 9457 problem document."""
        return {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id.get(),
            **self.members,
        }


def _shown(text: str, limit: int) -> str:
    # JSON can hold half a surrogate pair, which UTF-8 cannot.
    whole = text[: limit + 1].encode(errors="backslashreplace").decode()
    return whole if len(whole) <= limit else whole[:limit] + "..."


class InvalidParameter(ServiceError):
    status, slug, title = 422, "invalid-parameter", "Invalid parameter"

    def __init__(self, errors: Mapping[str, str]) -> None:
        """
        Args:
            errors: for each field what is wrong with it.
        """
        named = [
            (_shown(field, _MAX_FIELD), _shown(message, _MAX_MESSAGE))
            for field, message in islice(errors.items(), MAX_NAMED)
        ]
        details = [f"{field}: {message}" for field, message in named]
        if len(errors) > MAX_NAMED:
            details.append(f"... and {len(errors) - MAX_NAMED:,} more")
        super().__init__("; ".join(details), errors=[{"field": field, "message": message} for field, message in named])


class ImageError(ServiceError):
    """Something about the image itself."""


class UnreadableImage(ImageError):
    status, slug, title = 400, "unreadable-image", "Unreadable image"


class UnsupportedFormat(ImageError):
    status, slug, title = 415, "unsupported-format", "Unsupported format"


class TooLarge(ImageError):
    status, slug, title = 413, "too-large", "Too large"


class Unauthorized(ServiceError):
    status, slug, title = 401, "unauthorized", "Unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        # RFC 9110 wants a challenge with every 401.
        return {
            "WWW-Authenticate": 'Bearer realm="emotion-serving", ApiKey realm="emotion-serving", header="X-API-Key"'
        }


class Forbidden(ServiceError):
    """Its member `scope` is the one that is missing."""

    status, slug, title = 403, "forbidden", "Forbidden"


class Throttled(ServiceError):
    """The same request is fine a little later."""

    status = 429

    def __init__(
        self, detail: str, *, retry_after_s: int, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail, **members)
        self._headers = {**(headers or {}), "Retry-After": str(retry_after_s)}

    @property
    def headers(self) -> dict[str, str]:
        return self._headers


class RateLimited(Throttled):
    """Its member `limit` is the one passed."""

    slug, title = "rate-limited", "Rate limited"


class TooManyGuesses(Throttled):
    slug, title = "too-many-guesses", "Too many guesses"


class AdminDisabled(ServiceError):
    status, slug, title = 403, "admin-disabled", "Admin endpoints disabled"


class UploadTimeout(ServiceError):
    status, slug, title = 408, "upload-timeout", "Upload timeout"

    @property
    def headers(self) -> dict[str, str]:
        # What is left of the body would be read as the next request.
        return {"Connection": "close"}


class BadRequest(ServiceError):
    status, slug, title = 400, "bad-request", "Bad request"


class HeadTimeout(ServiceError):
    status, slug, title = 408, "head-timeout", "Header fields timeout"


class UriTooLong(ServiceError):
    status, slug, title = 414, "uri-too-long", "URI too long"


class HeadTooLarge(ServiceError):
    status, slug, title = 431, "header-fields-too-large", "Request header fields too large"


class NotServed(ServiceError):
    status = 404
    thing: ClassVar[str] = "name"

    def __init__(self, asked: object, available: Sequence[object], *, model: str | None = None) -> None:
        """
        Args:
            available: the names that would have worked.
        """
        of = f" of model {model!r}" if model else ""
        names = ", ".join(map(str, available)) or "none"
        super().__init__(f"There is no {self.thing} {asked}{of}. Available: {names}.", available=list(available))


class UnknownModel(NotServed):
    slug, title, thing = "unknown-model", "Unknown model", "model"


class UnknownVersion(NotServed):
    slug, title, thing = "unknown-version", "Unknown version", "version"


class UnknownLabel(NotServed):
    slug, title, thing = "unknown-label", "Unknown label", "label"


class UnknownExperiment(NotServed):
    slug, title, thing = "unknown-experiment", "Unknown experiment", "experiment"


class UnknownPrediction(ServiceError):
    status, slug, title = 404, "unknown-prediction", "Unknown prediction"


class NotAcceptable(ServiceError):
    """Its member `available` names what there is."""

    status, slug, title = 406, "not-acceptable", "Not acceptable"


class NotExplained(ServiceError):
    status, slug, title = 501, "not-explained", "Not explained"


class PredictionExpired(ServiceError):
    status, slug, title = 410, "prediction-expired", "Prediction expired"


class Unavailable(ServiceError):
    """Worth trying again: carries Retry-After, in seconds."""

    status = 503
    retry_after_s = 1

    def __init__(self, detail: str, *, retry_after_s: int | None = None, **members: Any) -> None:
        """
        Args:
            retry_after_s: when it is worth trying again; the kind's own when None.
        """
        super().__init__(detail, **members)
        self.retry_after_s = retry_after_s or self.retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class ModelServerUnavailable(Unavailable):
    slug, title = "model-server-unavailable", "Model server unavailable"


class VersionNotLoaded(Unavailable):
    slug, title = "version-not-loaded", "Version not loaded"
    # Loading a model and running its warm-up takes seconds.
    retry_after_s = 5


class Overloaded(Unavailable):
    slug, title = "overloaded", "Overloaded"


class TooManyConnections(Unavailable):
    slug, title = "too-many-connections", "Too many connections"


class OutcomesUnavailable(Unavailable):
    slug, title = "outcomes-unavailable", "Outcomes unavailable"
    # By then a failing database has been tried again.
    retry_after_s = 5


class NotReady(Unavailable):
    """Its member `reason` is the `type` of the problem that a prediction would get."""

    slug, title = "not-ready", "Not ready"


class ShuttingDown(Unavailable):
    slug, title = "shutting-down", "Shutting down"


class DeadlineExceeded(ServiceError):
    status, slug, title = 504, "deadline-exceeded", "Deadline exceeded"


class BadModelAnswer(ServiceError):
    status, slug, title = 502, "bad-model-answer", "Bad answer from the model server"


class InternalError(ServiceError):
    """Says nothing of its cause to the client: that is in the log, under the same request id."""

    def __init__(self, detail: str = "Something went wrong here; the log has it under this request id.") -> None:
        super().__init__(detail)


class DetectorFailed(InternalError):
    slug, title = "detector-failed", "Face detector failed"
