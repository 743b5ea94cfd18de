"""What is sent, and how an answer is read: the same for both clients."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from emotion_client.errors import EmotionError, problem

Image = bytes | Path | str
"""A photo's bytes, or where it lies."""

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready to be sent again."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: tuple[tuple[str, tuple[str, bytes]], ...] | None = None
    body: Mapping[str, Any] | None = None


def content_of(image: Image) -> bytes:
    """A photo's bytes.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def headers_of(key: str | None, subject: str | None, variant: str | None) -> dict[str, bytes]:
    """Those that every request has; the service reads them as UTF-8."""
    given = {"X-API-Key": key, "X-Subject-ID": subject, "X-Variant": variant}
    return {name: value.encode() for name, value in given.items() if value is not None}


def predict(image: Image, query: Mapping[str, Any], accept: str = "application/json") -> Call:
    headers = {"Content-Type": "application/octet-stream", "Accept": accept}
    return Call("POST", "/v1/predict", _given(query), headers, content=content_of(image))


def batch(images: Mapping[str, bytes], query: Mapping[str, Any]) -> Call:
    files = tuple(("files", (name, content)) for name, content in images.items())
    return Call("POST", "/v1/predict/batch", _given(query), files=files)


def explain(image: Image, query: Mapping[str, Any]) -> Call:
    return Call("POST", "/v1/explain", _given(query), files=(("image", ("image", content_of(image))),))


def feedback(prediction_id: str, face: int, emotion: str | None, correct: bool | None) -> Call:
    body = {"prediction_id": prediction_id, "face": face, "emotion": emotion, "correct": correct}
    return Call("POST", "/v1/feedback", body=_given(body))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def checked(response: httpx.Response) -> httpx.Response:
    """The response.

    Raises:
        Problem: it is an error.
    """
    if response.is_success:
        return response
    try:
        members = response.json()
    except ValueError:
        # Of a proxy, or of no service of ours.
        members = {"title": f"{response.status_code} {response.reason_phrase}"}
    after = response.headers.get("retry-after", "")
    seconds = float(after) if after.isdecimal() else None
    raise problem(response.status_code, members if isinstance(members, dict) else {}, seconds)


def read(response: httpx.Response, kind: type[Answer]) -> Answer:
    """The answer as a model.

    Raises:
        EmotionError: it is none of this service's.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise EmotionError(f"{response.url}: is no answer of this service: {where}: {first['msg']}") from error


def is_local(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
