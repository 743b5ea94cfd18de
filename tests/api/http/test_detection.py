"""What finds the faces, and what an answer tells of it."""

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from api.app import create_app
from api.settings import Settings
from faces.errors import ModelFileError
from tests.api.model_server_process import ModelServer

LANDMARKS = {"left_eye", "right_eye", "nose", "left_mouth", "right_mouth"}


@pytest.fixture
def yunet_file() -> str:
    path = os.environ.get("TEST_YUNET_MODEL")
    if not path:
        pytest.skip("no YuNet: TEST_YUNET_MODEL names no file")
    return path


async def ask(client: httpx.AsyncClient, photo: bytes, query: str = "") -> dict:
    response = await client.post(f"/v1/predict?{query}", content=photo, headers={"content-type": "image/jpeg"})
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_answer_tells_how_faces_were_looked_for(client: httpx.AsyncClient, two_faces: bytes) -> None:
    body = await ask(client, two_faces)
    assert body["detection"] == {"detector": "mtcnn", "side": 640, "min_face": body["detection"]["min_face"]}
    assert 16 < body["detection"]["min_face"] < 40
    for face in body["faces"]:
        assert 0.6 < face["score"] <= 1
        assert abs(face["roll"]) < 25
        assert set(face["landmarks"]) == LANDMARKS
        box, eye, mouth = face["box"], face["landmarks"]["left_eye"], face["landmarks"]["left_mouth"]
        assert box["x"] < eye["x"] < box["x"] + box["width"]
        assert box["y"] < eye["y"] < mouth["y"] < box["y"] + box["height"]
        assert eye["x"] < face["landmarks"]["right_eye"]["x"]


async def test_in_a_batch_each_file_has_its_own(client: httpx.AsyncClient, one_face: bytes, two_faces: bytes) -> None:
    files = [("files", one_face), ("files", b"no photo"), ("files", two_faces)]
    results = (await client.post("/v1/predict/batch", files=files)).json()["results"]
    assert [result.get("detection", {}).get("side") for result in results] == [600, None, 640]
    assert [len(result.get("faces", ())) for result in results] == [1, 0, 2]


async def test_haar_is_for_who_names_it_and_has_no_score(client: httpx.AsyncClient, one_face: bytes) -> None:
    body = await ask(client, one_face, "detector=haar")
    assert body["detection"]["detector"] == "haar"
    assert [face["score"] for face in body["faces"]] == [None]
    assert (await ask(client, one_face, "detector=auto"))["detection"]["detector"] == "mtcnn"


async def test_a_detector_that_is_not_here_is_a_422_that_names_those_that_are(
    client: httpx.AsyncClient, one_face: bytes
) -> None:
    response = await client.post("/v1/predict?detector=yunet", files={"file": one_face})
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["field"] == "detector"
    assert "mtcnn" in error["message"]
    assert "haar" in error["message"]
    assert (await client.post("/v1/predict?detector=eyes", files={"file": one_face})).status_code == 422


async def test_yunet_where_its_file_is(
    open_gateway: Callable, model_server: ModelServer, yunet_file: str, two_faces: bytes
) -> None:
    async with open_gateway(model_server=model_server.address, yunet_model=yunet_file) as client:
        body = await ask(client, two_faces)
        assert body["detection"]["detector"] == "yunet"
        assert len(body["faces"]) == 2
        assert (await client.get("/readyz")).json() == {"status": "ok", "detector": "yunet"}
        assert 'emotion_detector_info{detector="yunet"} 1.0' in (await client.get("/metrics")).text


async def test_without_it_mtcnn_serves(open_gateway: Callable, model_server: ModelServer, tmp_path: Path) -> None:
    async with open_gateway(model_server=model_server.address, yunet_model=str(tmp_path / "absent")) as client:
        assert (await client.get("/readyz")).json()["detector"] == "mtcnn"
        assert 'emotion_detector_info{detector="mtcnn"} 1.0' in (await client.get("/metrics")).text


def test_a_detector_that_cannot_be_had_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be had"):
        create_app(Settings(detector="yunet"))
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another network")
    for detector in ("auto", "yunet"):
        with pytest.raises(ModelFileError, match="its SHA-256 is"):
            create_app(Settings(detector=detector, yunet_model=other))


async def test_alignment_may_be_left_out(client: httpx.AsyncClient, two_faces: bytes) -> None:
    plain, aligned = await ask(client, two_faces, "align=off"), await ask(client, two_faces)
    assert [(face["roll"], face["landmarks"]) for face in plain["faces"]] == [(None, None)] * 2
    assert [face["box"] for face in plain["faces"]] == [face["box"] for face in aligned["faces"]]


async def test_a_picture_that_is_one_face_has_neither(client: httpx.AsyncClient, one_face: bytes) -> None:
    body = await ask(client, one_face, "crop=none")
    assert body["detection"] is None
    [face] = body["faces"]
    assert (face["score"], face["roll"], face["landmarks"]) == (None, None, None)


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_photo_on_its_side_is_read_where_that_is_asked_for(
    client: httpx.AsyncClient, one_face: bytes, encode: Callable[..., bytes], tmp_path: Path, turns: int
) -> None:
    (tmp_path / "one.jpg").write_bytes(one_face)
    upright = Image.open(tmp_path / "one.jpg").convert("L")
    on_its_side = encode(Image.fromarray(np.rot90(np.asarray(upright), turns)), "JPEG", quality=95)
    [expected] = (await ask(client, one_face))["faces"]
    assert (await ask(client, on_its_side))["faces"] == []
    [face] = (await ask(client, on_its_side, "rotate=auto"))["faces"]
    # np.rot90 turns to the left.
    roll = (face["roll"] + 90 * turns - expected["roll"] + 180) % 360 - 180
    assert abs(roll) < 10
    size = {"width", "height"}
    swapped = {"width": "height", "height": "width"} if turns % 2 else dict(zip(size, size, strict=True))
    for key in size:
        assert face["box"][key] == pytest.approx(expected["box"][swapped[key]], rel=0.1)
    assert face["emotion"] == expected["emotion"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("min_face=25000001", "min_face"),
        ("min_face=2147483648", "min_face"),
        ("min_face=99999999999999999999999", "min_face"),
        ("align=maybe", "align"),
        ("rotate=90", "rotate"),
    ],
)
async def test_values_out_of_range_are_named(
    client: httpx.AsyncClient, one_face: bytes, query: str, field: str
) -> None:
    response = await client.post(f"/v1/predict?{query}", files={"file": one_face})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_min_face_finds_a_face_that_is_a_little_larger(client: httpx.AsyncClient, one_face: bytes) -> None:
    [face] = (await ask(client, one_face))["faces"]
    width = face["box"]["width"]
    assert [face["box"] for face in (await ask(client, one_face, f"min_face={width - 1}"))["faces"]] == [face["box"]]
    assert (await ask(client, one_face, f"min_face={width + 1}"))["faces"] == []
    assert (await ask(client, one_face, "min_face=25000000"))["faces"] == []


async def test_a_small_min_face_looks_closer(client: httpx.AsyncClient, encode: Callable[..., bytes]) -> None:
    large = encode(Image.new("L", (3000, 2000), 120), "JPEG")
    plain, close = await ask(client, large), await ask(client, large, "min_face=20")
    assert plain["detection"]["side"] == 640
    assert close["detection"]["side"] == 1800
    assert close["detection"]["min_face"] < plain["detection"]["min_face"]
    assert (await ask(client, large, "min_face=1"))["detection"]["side"] == 1920
