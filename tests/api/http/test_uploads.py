"""A photo in a body: what it may be called, and how it may be encoded."""

import base64
import textwrap
from collections.abc import Callable

import httpx
import pytest


@pytest.mark.parametrize(
    "kind",
    [
        "image/*",
        "image/jpg",
        "image/pjpeg",
        "image/png",
        "IMAGE/JPEG; q=1",
        "binary/octet-stream",
        "application/octet-stream",
        None,
    ],
)
async def test_the_content_decides_what_an_image_is(
    client: httpx.AsyncClient, one_face: bytes, kind: str | None
) -> None:
    response = await client.post("/predict", content=one_face, headers={"content-type": kind} if kind else {})
    assert response.status_code == 200, response.text
    assert len(response.json()["faces"]) == 1


@pytest.mark.parametrize(
    "encode",
    [
        lambda content: base64.encodebytes(content).decode(),
        lambda content: "\r\n".join(textwrap.wrap(base64.b64encode(content).decode(), 64)),
        lambda content: base64.urlsafe_b64encode(content).decode(),
        lambda content: base64.b64encode(content).decode().rstrip("="),
        lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
        lambda content: f"data:image/jpeg;base64,{base64.encodebytes(content).decode()}",
    ],
    ids=["lines", "crlf", "url-safe", "unpadded", "url-safe-unpadded", "data-url-in-lines"],
)
async def test_base64_of_every_kind(client: httpx.AsyncClient, one_face: bytes, encode: Callable[[bytes], str]) -> None:
    # One byte behind the picture makes padding necessary.
    response = await client.post("/predict", json={"image": encode(one_face + bytes(2 - len(one_face) % 3))})
    assert response.status_code == 200, response.text
    assert len(response.json()["faces"]) == 1


@pytest.mark.parametrize("text", ["AAAAA", "AA*A", "AAAA....", "ÄÖÜ"])
async def test_what_is_no_base64(client: httpx.AsyncClient, text: str) -> None:
    response = await client.post("/predict", json={"image": text})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["image"]
