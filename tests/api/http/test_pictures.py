"""The annotated picture, by Accept and from /classifyImage."""

from collections.abc import Callable
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

PNG = {"accept": "image/png"}


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    picture = Image.open(BytesIO(response.content))
    picture.load()
    return picture


def changed(picture: Image.Image, original: bytes) -> np.ndarray:
    """Where the picture is not the photo."""
    before = np.asarray(Image.open(BytesIO(original)).convert("RGB"), np.int16)
    marks: np.ndarray = np.abs(np.asarray(picture.convert("RGB"), np.int16) - before).max(axis=2) > 40
    return marks


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/png;q=0.5, image/jpeg", "image/jpeg"),
        ("image/png;q=0.5, image/jpeg;q=0.4, application/json;q=0.1", "image/png"),
        ("*/*;q=0.1, image/png;q=0, image/*;q=0.8", "image/jpeg"),
        ("application/*, image/png;q=0.9", "application/json"),
    ],
)
async def test_accept_decides(client: httpx.AsyncClient, one_face: bytes, accept: str | None, kind: str) -> None:
    client.headers.pop("accept")
    headers = {} if accept is None else {"accept": accept}
    response = await client.post("/v1/predict", files={"file": one_face}, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == kind
    assert "accept" in response.headers["vary"].lower()


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "*/*;q=0", "application/json;q=0"])
async def test_what_is_not_there_is_406(client: httpx.AsyncClient, one_face: bytes, accept: str) -> None:
    response = await client.post("/v1/predict", files={"file": one_face}, headers={"accept": accept})
    assert response.status_code == 406
    assert response.json()["type"].endswith(":not-acceptable")
    assert response.json()["available"] == ["application/json", "image/png", "image/jpeg"]


async def test_boxes_are_drawn_where_the_json_says(client: httpx.AsyncClient, two_faces: bytes) -> None:
    faces = (await client.post("/v1/predict", files={"file": two_faces})).json()["faces"]
    response = await client.post("/v1/predict", files={"file": two_faces}, headers=PNG)
    assert response.headers["x-prediction-id"]
    assert response.headers["x-model"] == "residual/2"
    picture = opened(response)
    assert picture.size == (1024, 600)
    marks = changed(picture, two_faces)
    for face in faces:
        box = face["box"]
        middle = box["y"] + box["height"] // 2
        assert marks[middle - 20 : middle + 20, box["x"] : box["x"] + 5].mean() > 0.3
        assert not marks[middle - 20 : middle + 20, box["x"] + 20 : box["x"] + 60].any()
    assert marks.mean() < 0.2


async def test_words_are_vietnamese_when_asked_for(client: httpx.AsyncClient, one_face: bytes) -> None:
    pictures = [
        opened(await client.post(f"/v1/predict?lang={lang}", files={"file": one_face}, headers=PNG))
        for lang in ("en", "vi")
    ]
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert (await client.post("/v1/predict?lang=fr", files={"file": one_face})).status_code == 422


@pytest.mark.parametrize("side", [200, 1000, 6000])
async def test_letters_grow_with_the_picture(
    client: httpx.AsyncClient, one_face: bytes, encode: Callable[..., bytes], side: int
) -> None:
    portrait = Image.open(BytesIO(one_face)).convert("RGB")
    size = (round(side * portrait.width / portrait.height), side)
    photo = encode(portrait.resize(size), "JPEG", quality=80)
    picture = opened(await client.post("/v1/predict", files={"file": photo}, headers=PNG))
    assert picture.size == size
    # The label's height, told by the rows in which its colour and letters replace the photo.
    marks = changed(picture, photo)
    rows = marks.mean(axis=1)
    assert (rows > 0.1).sum() >= max(10, side / 60)


async def test_a_photo_that_is_turned_by_exif_stands_upright(
    client: httpx.AsyncClient, two_faces: bytes, encode: Callable[..., bytes]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.open(BytesIO(two_faces)).rotate(90, expand=True)
    response = await client.post("/v1/predict", files={"file": encode(lying, "JPEG", exif=exif)}, headers=PNG)
    assert opened(response).size == (1024, 600)


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("P", "GIF"), ("L", "BMP"), ("CMYK", "JPEG"), ("I;16", "PNG")]
)
async def test_other_formats_can_be_drawn_on(
    client: httpx.AsyncClient, one_face: bytes, encode: Callable[..., bytes], mode: str, kind: str
) -> None:
    portrait = Image.open(BytesIO(one_face)).convert("RGB")
    if mode == "I;16":
        photo = encode(Image.fromarray(np.asarray(portrait.convert("L"), np.uint16) << 8), kind)
    else:
        photo = encode(portrait.convert(mode), kind)
    picture = opened(await client.post("/v1/predict", files={"file": photo}, headers=PNG))
    assert picture.size == portrait.size
    assert 30 < np.asarray(picture.convert("L")).mean() < 225


async def test_an_old_client_of_classify_image_gets_a_png(client: httpx.AsyncClient, two_faces: bytes) -> None:
    response = await client.post("/classifyImage", files={"image": ("photo.jpg", two_faces, "image/jpeg")})
    assert response.headers["content-type"] == "image/png"
    assert changed(opened(response), two_faces).any()


async def test_classify_image_names_the_field_that_it_lacks(client: httpx.AsyncClient, two_faces: bytes) -> None:
    response = await client.post("/classifyImage", files={"file": two_faces})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "file"
    assert (await client.post("/classifyImage", content=two_faces)).status_code == 415
