import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

JPEG = {"content-type": "image/jpeg"}
PREFIX = "urn:problem-type:emotion-serving:"


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == PREFIX + slug
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


async def test_multipart_with_two_faces(client: httpx.AsyncClient, two_faces: bytes, classes: list[str]) -> None:
    response = await client.post("/predict", files={"file": ("photo.txt", two_faces, "text/plain")})
    assert response.status_code == 200, response.text
    body = response.json()
    assert set(body) == {"id", "experiment", "variant", "fallback", "image", "model", "detection", "faces", "timing_ms"}
    assert (body["experiment"], body["variant"], body["fallback"]) == (None, None, False)
    assert body["id"]
    assert body["image"] == {"width": 1024, "height": 600}
    assert body["model"] == {"name": "residual", "version": 2, "label": None}
    assert len(body["faces"]) == 2
    areas = []
    for face in body["faces"]:
        assert set(face) == {"box", "score", "roll", "landmarks", "emotion", "confidence", "unclear", "probabilities"}
        assert set(face["box"]) == {"x", "y", "width", "height"}
        assert list(face["probabilities"]) == classes
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        # The fixture's version 2 favours class 2.
        assert face["emotion"] == "fear" == max(face["probabilities"], key=face["probabilities"].get)
        assert face["confidence"] == face["probabilities"]["fear"]
        areas.append(face["box"]["width"] * face["box"]["height"])
    assert areas == sorted(areas, reverse=True)
    timing = body["timing_ms"]
    assert set(timing) == {"decode", "detect", "infer", "total"}
    assert timing["total"] >= timing["decode"] + timing["detect"] + timing["infer"]


async def test_raw_json_and_multipart_agree(client: httpx.AsyncClient, one_face: bytes) -> None:
    encoded = base64.b64encode(one_face).decode()
    answers = [
        await client.post("/predict", files={"file": one_face}),
        await client.post("/predict", content=one_face, headers=JPEG),
        await client.post("/predict", content=one_face, headers={"content-type": "application/octet-stream"}),
        await client.post("/predict", json={"image": encoded}),
        await client.post("/predict", json={"image": f"data:image/jpeg;base64,{encoded}"}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 5
    faces = [answer.json()["faces"] for answer in answers]
    assert len(faces[0]) == 1
    assert all(other == faces[0] for other in faces)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "AVIF"])
async def test_the_other_formats(
    client: httpx.AsyncClient, one_face: bytes, encode: Callable[..., bytes], kind: str, tmp_path: Path
) -> None:
    (tmp_path / "one.jpg").write_bytes(one_face)
    content = encode(Image.open(tmp_path / "one.jpg"), kind)
    headers = {"content-type": f"image/{kind.lower()}"}
    response = await client.post("/predict", content=content, headers=headers)
    assert len(response.json()["faces"]) == 1


async def test_cmyk_and_rotated_photos(
    client: httpx.AsyncClient, one_face: bytes, encode: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "one.jpg").write_bytes(one_face)
    upright = Image.open(tmp_path / "one.jpg")
    expected = (await client.post("/predict", content=one_face, headers=JPEG)).json()
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    for content in (encode(upright.convert("CMYK"), "JPEG", quality=95), rotated):
        body = (await client.post("/predict", content=content, headers=JPEG)).json()
        assert body["image"] == expected["image"]
        [face], [expected_face] = body["faces"], expected["faces"]
        for side, value in expected_face["box"].items():
            assert face["box"][side] == pytest.approx(value, abs=8)


async def test_no_face_is_an_empty_list(client: httpx.AsyncClient, encode: Callable[..., bytes]) -> None:
    response = await client.post("/predict", files={"file": encode(Image.new("L", (300, 200), 90))})
    assert response.status_code == 200
    body = response.json()
    assert body["faces"] == []
    assert body["model"]["version"] == 2


async def test_no_face_still_needs_a_model(client: httpx.AsyncClient, encode: Callable[..., bytes]) -> None:
    blank = encode(Image.new("L", (300, 200), 90))
    assert_problem(await client.post("/predict?version=9", files={"file": blank}), 404, "unknown-version")


async def test_crop_none_takes_the_whole_image(client: httpx.AsyncClient, encode: Callable[..., bytes]) -> None:
    face = encode(Image.new("L", (40, 50), 90))
    body = (await client.post("/predict?crop=none", files={"file": face})).json()
    assert [face["box"] for face in body["faces"]] == [{"x": 0, "y": 0, "width": 40, "height": 50}]


async def test_max_faces_keeps_the_largest(client: httpx.AsyncClient, two_faces: bytes) -> None:
    both = (await client.post("/predict", files={"file": two_faces})).json()["faces"]
    largest = (await client.post("/predict?max_faces=1", files={"file": two_faces})).json()["faces"]
    assert [face["box"] for face in largest] == [both[0]["box"]]


async def test_min_face(client: httpx.AsyncClient, one_face: bytes) -> None:
    assert (await client.post("/predict?min_face=300", files={"file": one_face})).json()["faces"] == []


@pytest.mark.parametrize(
    ("query", "version", "label", "emotion"),
    [
        ("version=1", 1, None, "disgust"),
        ("version=2", 2, None, "fear"),
        ("label=stable", 1, "stable", "disgust"),
        ("label=canary&model=residual", 2, "canary", "fear"),
    ],
)
async def test_version_and_label(
    client: httpx.AsyncClient, one_face: bytes, query: str, version: int, label: str | None, emotion: str
) -> None:
    # Twice: the first call learns the classes, the second relies on them.
    for _ in range(2):
        body = (await client.post(f"/predict?{query}", files={"file": one_face})).json()
        assert body["model"] == {"name": "residual", "version": version, "label": label}
        assert body["faces"][0]["emotion"] == emotion


async def test_default_label(open_gateway: Callable, model_server: object, one_face: bytes) -> None:
    async with open_gateway(model_server=model_server.address, default_label="stable") as client:
        body = (await client.post("/predict", files={"file": one_face})).json()
        assert body["model"] == {"name": "residual", "version": 1, "label": "stable"}


async def test_unknown_names_are_404_and_name_what_there_is(client: httpx.AsyncClient, one_face: bytes) -> None:
    async def ask(query: str, slug: str) -> list:
        response = await client.post(f"/predict?{query}", files={"file": one_face})
        return assert_problem(response, 404, slug)["available"]

    assert await ask("model=other", "unknown-model") == ["residual"]
    assert await ask("version=77", "unknown-version") == [2, 1]
    assert await ask("label=nightly", "unknown-label") == ["canary", "stable"]


async def test_a_model_that_the_server_does_not_have(
    open_gateway: Callable, model_server: object, one_face: bytes
) -> None:
    async with open_gateway(model_server=model_server.address, models=["residual", "ghost"]) as client:
        for query in ("model=ghost", "model=ghost&version=1", "model=ghost&label=stable"):
            response = await client.post(f"/predict?{query}", files={"file": one_face})
            assert assert_problem(response, 404, "unknown-model")["available"] == ["residual"]


async def test_a_version_that_did_not_load_is_503(client: httpx.AsyncClient, one_face: bytes) -> None:
    response = await client.post("/predict?version=3", files={"file": one_face})
    problem = assert_problem(response, 503, "version-not-loaded")
    assert problem["state"] == "END"
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("version=1&label=stable", ["version", "label"]),
        ("version=x", ["version"]),
        ("version=-1", ["version"]),
        ("version=9223372036854775808", ["version"]),
        ("label=a%20b", ["label"]),
        ("max_faces=0", ["max_faces"]),
        ("max_faces=51", ["max_faces"]),
        ("min_face=0", ["min_face"]),
        ("crop=maybe", ["crop"]),
        ("maxfaces=3", ["maxfaces"]),
        ("max_faces=0&min_face=x", ["max_faces", "min_face"]),
    ],
)
async def test_bad_parameters_are_named(
    client: httpx.AsyncClient, one_face: bytes, query: str, fields: list[str]
) -> None:
    response = await client.post(f"/predict?{query}", files={"file": one_face})
    problem = assert_problem(response, 422, "invalid-parameter")
    assert [error["field"] for error in problem["errors"]] == fields
    assert all(error["message"] for error in problem["errors"])
    assert all(field in problem["detail"] for field in fields)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"files": {"image": b"x"}}, "image"),
        ({"files": [("file", b"x"), ("file", b"y")]}, "file"),
        ({"files": {"file": b"x"}, "data": {"note": "hello"}}, "note"),
        ({"files": {"file": (None, "text")}}, "file"),
        ({"content": b"--b--\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "file"),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "file"),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data"}}, "file"),
        ({"json": {}}, "image"),
        ({"json": {"image": 3}}, "image"),
        ({"json": {"image": "not base64!"}}, "image"),
        ({"json": {"image": "AAAA", "more": 1}}, "more"),
        ({"json": ["AAAA"]}, "body"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, "body"),
    ],
)
async def test_bad_bodies_are_named(client: httpx.AsyncClient, form: dict, field: str) -> None:
    problem = assert_problem(await client.post("/predict", **form), 422, "invalid-parameter")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 400, "unreadable-image"),
        (b"II*\0" + bytes(50), 415, "unsupported-format"),
        (b"just some text", 415, "unsupported-format"),
        (b"\xff\xd8\xff\xe0 but no more", 400, "unreadable-image"),
    ],
)
async def test_bad_images(client: httpx.AsyncClient, content: bytes, status: int, slug: str) -> None:
    bodies: list[dict] = [
        {"files": {"file": ("photo.jpg", content, "image/jpeg")}},
        {"content": content, "headers": JPEG},
        {"json": {"image": base64.b64encode(content).decode()}},
    ]
    for body in bodies:
        assert_problem(await client.post("/predict", **body), status, slug)


async def test_no_body_at_all(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/predict"), 400, "unreadable-image")


async def test_truncated_jpeg(client: httpx.AsyncClient, one_face: bytes) -> None:
    response = await client.post("/predict", content=one_face[: len(one_face) // 2], headers=JPEG)
    assert "truncated" in assert_problem(response, 400, "unreadable-image")["detail"]


@pytest.mark.parametrize("kind", ["video/mp4", "text/plain", "application/x-www-form-urlencoded"])
async def test_other_content_types(client: httpx.AsyncClient, one_face: bytes, kind: str) -> None:
    response = await client.post("/predict", content=one_face, headers={"content-type": kind})
    problem = assert_problem(response, 415, "unsupported-format")
    assert kind in problem["detail"]
    assert "multipart/form-data" in problem["detail"]


async def test_a_png_of_20000_by_20000(client: httpx.AsyncClient) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj()
    pixels = b"".join(rows.compress(bytes(2501)) for _ in range(20_000)) + rows.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    response = await client.post("/predict", content=bomb, headers={"content-type": "image/png"})
    problem = assert_problem(response, 413, "too-large")
    assert (problem["size"], problem["limit"], problem["unit"]) == (400_000_000, 25_000_000, "pixels")
    assert "400,000,000" in problem["detail"]
    assert "25,000,000" in problem["detail"]


async def test_too_many_bytes(client: httpx.AsyncClient) -> None:
    # Over the image's limit, within the body's, which leaves room for base64.
    response = await client.post("/predict", content=bytes(11 * 2**20), headers=JPEG)
    problem = assert_problem(response, 413, "too-large")
    assert (problem["size"], problem["limit"], problem["unit"]) == (11 * 2**20, 10 * 2**20, "bytes")


async def test_announced_body_is_refused_unread(client: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 2**20
            yield bytes(2**20)

    headers = JPEG | {"content-length": str(100 * 2**20)}
    problem = assert_problem(await client.post("/predict", content=body(), headers=headers), 413, "too-large")
    assert problem["size"] == 100 * 2**20
    assert read <= 2 * 2**20


async def test_body_of_unknown_length_is_cut_off(client: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 2**20
            yield bytes(2**20)

    problem = assert_problem(await client.post("/predict", content=body(), headers=JPEG), 413, "too-large")
    assert problem["limit"] == 10 * 2**20 * 4 // 3 + 64 * 2**10
    assert "size" not in problem
    assert read < 20 * 2**20


async def test_slow_upload_is_408(open_gateway: Callable, model_server: object) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"\xff\xd8"
        await asyncio.Event().wait()

    async with open_gateway(model_server=model_server.address, upload_timeout_s=0.05) as client:
        assert_problem(await client.post("/predict", content=body(), headers=JPEG), 408, "upload-timeout")


async def test_many_requests_at_once(client: httpx.AsyncClient, one_face: bytes, two_faces: bytes) -> None:
    images = [one_face, two_faces] * 8
    answers = await asyncio.gather(*(client.post("/predict", content=image, headers=JPEG) for image in images))
    assert [len(answer.json()["faces"]) for answer in answers] == [1, 2] * 8
