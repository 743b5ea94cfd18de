from collections.abc import Callable

import httpx
from PIL import Image

from faces.decode import Grey
from faces.geometry import Box
from tests.api.made_up_detectors import made_up


async def test_one_result_per_file_in_order(
    client: httpx.AsyncClient, one_face: bytes, two_faces: bytes, encode: Callable[..., bytes]
) -> None:
    blank = encode(Image.new("L", (100, 100)))
    contents = [two_faces, b"no image", blank, one_face[:5000], one_face, b""]
    files = [("files", (f"{index}.jpg", content)) for index, content in enumerate(contents)]
    response = await client.post("/predict/batch", files=files)
    assert response.status_code == 200, response.text
    body = response.json()
    assert set(body) == {"id", "experiment", "variant", "fallback", "model", "results", "timing_ms"}
    assert body["model"] == {"name": "residual", "version": 2, "label": None}
    results = body["results"]
    assert [result["index"] for result in results] == list(range(6))
    assert [result["filename"] for result in results] == [f"{index}.jpg" for index in range(6)]
    assert [len(result["faces"]) if "faces" in result else None for result in results] == [
        2,
        None,
        0,
        None,
        1,
        None,
    ]
    assert [result.get("problem", {}).get("status") for result in results] == [
        None,
        415,
        None,
        400,
        None,
        400,
    ]

    # Each file's faces are its own: the same as when it is sent alone.
    for index in (0, 4):
        alone = (await client.post("/predict", files={"file": contents[index]})).json()
        assert [face["box"] for face in results[index]["faces"]] == [face["box"] for face in alone["faces"]]
        for batched, single in zip(results[index]["faces"], alone["faces"], strict=True):
            for name, value in single["probabilities"].items():
                assert abs(batched["probabilities"][name] - value) < 1e-5


async def test_nothing_readable_is_still_an_answer(client: httpx.AsyncClient) -> None:
    body = (await client.post("/predict/batch?label=stable", files=[("files", b"x"), ("files", b"y")])).json()
    assert body["model"] == {"name": "residual", "version": 1, "label": "stable"}
    assert [result["problem"]["status"] for result in body["results"]] == [415, 415]


async def test_too_many_files_names_the_limit(client: httpx.AsyncClient) -> None:
    response = await client.post("/predict/batch", files=[("files", b"x")] * 17)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["field"] == "files"
    assert "16" in error["message"]


async def test_wrong_bodies(client: httpx.AsyncClient, one_face: bytes) -> None:
    wrong_field = await client.post("/predict/batch", files={"file": one_face})
    assert (wrong_field.status_code, wrong_field.json()["errors"][0]["field"]) == (422, "file")
    raw = await client.post("/predict/batch", content=one_face, headers={"content-type": "image/jpeg"})
    assert raw.status_code == 415


async def test_the_whole_body_is_limited(open_gateway: Callable, model_server: object) -> None:
    settings = {"max_image_bytes": 50_000, "max_batch_bytes": 100_000}
    async with open_gateway(model_server=model_server.address, **settings) as client:
        response = await client.post("/predict/batch", files=[("files", bytes(60_000))] * 2)
        assert response.status_code == 413
        assert response.json()["limit"] == 100_000
        one_too_large = await client.post("/predict/batch", files=[("files", bytes(60_000)), ("files", b"x")])
        problems = [result["problem"] for result in one_too_large.json()["results"]]
        assert [problem["status"] for problem in problems] == [413, 415]
        assert problems[0]["limit"] == 50_000


def fail_on_dark(grey: Grey) -> list[Box]:
    """A detector with a bug that shows on some images only."""
    if grey.mean() < 10:
        raise ZeroDivisionError("a secret of the detector")
    return [Box(0, 0, 20, 20)]


async def test_a_detector_that_fails_loses_one_file(
    open_gateway: Callable, model_server: object, encode: Callable[..., bytes]
) -> None:
    dark, light = (encode(Image.new("L", (50, 50), value)) for value in (0, 200))
    async with open_gateway(made_up(fail_on_dark), model_server=model_server.address) as client:
        files = [("files", dark), ("files", light)]
        results = (await client.post("/predict/batch", files=files)).json()["results"]
        assert results[0]["problem"]["type"].endswith(":detector-failed")
        assert len(results[1]["faces"]) == 1

        alone = await client.post("/predict", files={"file": dark})
        assert alone.status_code == 500
        assert alone.json()["type"].endswith(":detector-failed")
        assert "secret" not in alone.text
        assert (await client.post("/predict", files={"file": light})).status_code == 200
