"""What can go wrong.

EmotionError
├── Unreachable          no service at that URL; the text says how to start one
└── Problem              it answered with an error (RFC 9457)
    ├── BadImage         400, 413, 415: this photo is none, is too large or of a kind that is not read
    ├── InvalidRequest   422: a parameter; `errors` names it
    ├── NotAllowed       401, 403: the key
    ├── NotFound         404, 410: a model, a version, a prediction
    ├── RateLimited      429: the key has had its share
    ├── Unavailable      503: it is busy, or its model server is down
    └── TooLate          504: it took too long
"""

from collections.abc import Mapping
from typing import Any


class EmotionError(Exception):
    """Base of all of them; its text is one line for people."""


class Unreachable(EmotionError):  # noqa: N818 - what the service is
    """Nothing answers at the URL, or not in time."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}; `make serve` starts a service on this machine")
        self.url = url


class Problem(EmotionError):  # noqa: N818 - RFC 9457 calls it so
    """An error that the service told.

    Attributes:
        status: of HTTP.
        type: stable, a URN that ends in a name such as `unreadable-image`.
        title, detail: for people.
        errors: messages by field, of a 422.
        retry_after_s: seconds after which it may be tried again; None where the service does not say.
        request_id: what its log has.
        members: all that the problem said.
    """

    def __init__(self, status: int, members: Mapping[str, Any], retry_after_s: float | None) -> None:
        self.status = status
        self.type = str(members.get("type", "about:blank"))
        self.title = str(members.get("title", status))
        self.detail = str(members.get("detail", ""))
        self.errors = {str(one.get("field")): str(one.get("message")) for one in members.get("errors") or ()}
        self.retry_after_s = retry_after_s
        self.request_id = members.get("request_id")
        self.members = dict(members)
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)

    @property
    def name(self) -> str:
        """The end of its type, such as `unreadable-image`."""
        return self.type.rsplit(":", 1)[-1]


class BadImage(Problem):
    pass


class InvalidRequest(Problem):
    pass


class NotAllowed(Problem):
    pass


class NotFound(Problem):
    pass


class RateLimited(Problem):
    pass


class Unavailable(Problem):
    pass


class TooLate(Problem):
    pass


_KINDS: Mapping[int, type[Problem]] = {
    400: BadImage,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    410: NotFound,
    413: BadImage,
    415: BadImage,
    422: InvalidRequest,
    429: RateLimited,
    503: Unavailable,
    504: TooLate,
}


def problem(status: int, members: Mapping[str, Any], retry_after_s: float | None = None) -> Problem:
    """The exception of a problem."""
    return _KINDS.get(status, Problem)(status, members, retry_after_s)
