"""Client and AsyncClient: one method an endpoint, the same in both.

Methods raise what emotion_client.errors has: `Unreachable`, or the `Problem` that the service tells. Options that are
None are left to the service. What it refuses because it is busy, and what it never got, is tried again within
`timeout_s`.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
import stamina

from emotion_client import requests
from emotion_client.answers import (
    Batch,
    Dropped,
    Explanation,
    Feedback,
    Health,
    Models,
    ModelVersions,
    Prediction,
    StreamResult,
)
from emotion_client.errors import EmotionError, Problem, Unreachable
from emotion_client.requests import Call, Image, checked, content_of, is_local, read
from emotion_client.retry import again
from emotion_client.stream import stream

URL = "http://localhost:8000"
Detector = Literal["auto", "yunet", "mtcnn", "haar"]


class _Settings:
    """What both clients are made with.

    Args:
        url: where the service is.
        key: of its operator; sent with each request.
        subject: whom the photos are of, for experiments: the same subject always gets the same variant.
        variant: of an experiment, to test it; needs a key of scope test.
        timeout_s: of a call, with all its attempts.
        retries: attempts after the first.

    Raises:
        EmotionError: `url` begins with neither http:// nor https://.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        subject: str | None = None,
        variant: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 3,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise EmotionError(f"{url}: is no URL of a service; one begins with http:// or https://, such as {URL}")
        self.url = url.rstrip("/")
        self.key = key
        self.subject = subject
        self._timeout_s = timeout_s
        self._retry: dict[str, Any] = {
            "on": again(timeout_s),
            "attempts": retries + 1,
            "timeout": timeout_s,
            "wait_initial": 0.1,
            "wait_max": 5.0,
        }
        self._http: dict[str, Any] = {
            "base_url": self.url,
            # Bytes, because httpx takes text for ASCII.
            "headers": [(name.encode(), value) for name, value in requests.headers_of(key, subject, variant).items()],
            "timeout": httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
            # A proxy that the environment names is not asked for this machine.
            "trust_env": not is_local(self.url),
        }

    def _arguments(self, call: Call) -> dict[str, Any]:
        return {
            "method": call.method,
            "url": call.path,
            "params": dict(call.query),
            "headers": dict(call.headers),
            "content": call.content,
            "files": call.files,
            "json": call.body,
        }

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        if isinstance(error, httpx.TimeoutException):
            return Unreachable(self.url, f"no answer within {self._timeout_s:g} s")
        return Unreachable(self.url, f"cannot be reached ({error or type(error).__name__})")


def _options(
    model: str | None,
    version: int | None,
    label: str | None,
    max_faces: int | None,
    min_face: int | None,
    detector: Detector | None,
    crop: Literal["detect", "none"] | None,
) -> dict[str, Any]:
    return {
        "model": model,
        "version": version,
        "label": label,
        "max_faces": max_faces,
        "min_face": min_face,
        "detector": detector,
        "crop": crop,
    }


def _named(images: Mapping[str, Image] | Iterable[Image]) -> dict[str, bytes]:
    if isinstance(images, Mapping):
        return {name: content_of(image) for name, image in images.items()}
    return {
        f"{index}" if isinstance(image, bytes) else str(image): content_of(image) for index, image in enumerate(images)
    }


def _health(response: httpx.Response) -> Health:
    members = response.json()
    if response.status_code == 200:
        return Health(ready=True, detector=members.get("detector"))
    return Health(ready=False, reason=members.get("detail"))


def _report_path(name: str) -> str:
    return f"/v1/experiments/{quote(name, safe='')}/report"


class Client(_Settings):
    """A client that waits for each answer. Use it in a `with`, or close it."""

    def __init__(self, url: str = URL, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._client = httpx.Client(**self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def predict(
        self,
        image: Image,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        max_faces: int | None = None,
        min_face: int | None = None,
        detector: Detector | None = None,
        crop: Literal["detect", "none"] | None = None,
    ) -> Prediction:
        """The faces of a photo, largest first."""
        query = _options(model, version, label, max_faces, min_face, detector, crop)
        return read(self._send(requests.predict(image, query)), Prediction)

    def annotated(self, image: Image, *, kind: Literal["png", "jpeg"] = "png", lang: str = "en") -> bytes:
        """The photo with what was found drawn on it."""
        return self._send(requests.predict(image, {"lang": lang}, f"image/{kind}")).content

    def batch(self, images: Mapping[str, Image] | Iterable[Image], **options: Any) -> Batch:
        """Several photos in one request, by name or in their order: a broken one loses itself alone."""
        return read(self._send(requests.batch(_named(images), options)), Batch)

    def explain(self, image: Image, **options: Any) -> Explanation:
        """What in each face speaks for its emotion."""
        return read(self._send(requests.explain(image, options)), Explanation)

    def feedback(
        self, prediction_id: str, *, face: int = 0, emotion: str | None = None, correct: bool | None = None
    ) -> Feedback:
        """Say what a face really shows, or whether the prediction was right."""
        return read(self._send(requests.feedback(prediction_id, face, emotion, correct)), Feedback)

    def models(self) -> list[ModelVersions]:
        """Models and their versions."""
        return read(self._send(Call("GET", "/v1/models")), Models).models

    def report(self, name: str) -> dict[str, Any]:
        """Which variant of an experiment is better, as docs/experiments.md has it."""
        report: dict[str, Any] = self._send(Call("GET", _report_path(name))).json()
        return report

    def health(self) -> Health:
        """Whether it would answer now. A service that is not ready is no error."""
        try:
            return _health(self._client.get("/readyz"))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _send(self, call: Call) -> httpx.Response:
        try:
            for attempt in stamina.retry_context(**self._retry):
                with attempt:
                    return checked(self._client.request(**self._arguments(call)))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        raise AssertionError("an attempt returns or raises")


class AsyncClient(_Settings):
    """A client for asyncio. Use it in an `async with`, or close it."""

    def __init__(self, url: str = URL, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._client = httpx.AsyncClient(**self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def predict(
        self,
        image: Image,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        max_faces: int | None = None,
        min_face: int | None = None,
        detector: Detector | None = None,
        crop: Literal["detect", "none"] | None = None,
    ) -> Prediction:
        """The faces of a photo, largest first."""
        query = _options(model, version, label, max_faces, min_face, detector, crop)
        return read(await self._send(requests.predict(image, query)), Prediction)

    async def annotated(self, image: Image, *, kind: Literal["png", "jpeg"] = "png", lang: str = "en") -> bytes:
        """The photo with what was found drawn on it."""
        return (await self._send(requests.predict(image, {"lang": lang}, f"image/{kind}"))).content

    async def batch(self, images: Mapping[str, Image] | Iterable[Image], **options: Any) -> Batch:
        """Several photos in one request, by name or in their order: a broken one loses itself alone."""
        return read(await self._send(requests.batch(_named(images), options)), Batch)

    async def explain(self, image: Image, **options: Any) -> Explanation:
        """What in each face speaks for its emotion."""
        return read(await self._send(requests.explain(image, options)), Explanation)

    async def feedback(
        self, prediction_id: str, *, face: int = 0, emotion: str | None = None, correct: bool | None = None
    ) -> Feedback:
        """Say what a face really shows, or whether the prediction was right."""
        return read(await self._send(requests.feedback(prediction_id, face, emotion, correct)), Feedback)

    async def models(self) -> list[ModelVersions]:
        """Models and their versions."""
        return read(await self._send(Call("GET", "/v1/models")), Models).models

    async def report(self, name: str) -> dict[str, Any]:
        """Which variant of an experiment is better, as docs/experiments.md has it."""
        report: dict[str, Any] = (await self._send(Call("GET", _report_path(name)))).json()
        return report

    async def health(self) -> Health:
        """Whether it would answer now. A service that is not ready is no error."""
        try:
            return _health(await self._client.get("/readyz"))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def stream(self, frames: AsyncIterable[bytes], **configure: Any) -> AsyncIterator[StreamResult | Dropped | Problem]:
        """Frames of a camera in, one reply to each out, in their order: see `emotion_client.stream`."""
        given = {"key": self.key, "subject": self.subject, **configure}
        return stream(self.url, frames, {name: value for name, value in given.items() if value is not None})

    async def _send(self, call: Call) -> httpx.Response:
        try:
            async for attempt in stamina.retry_context(**self._retry):
                with attempt:
                    return checked(await self._client.request(**self._arguments(call)))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        raise AssertionError("an attempt returns or raises")
