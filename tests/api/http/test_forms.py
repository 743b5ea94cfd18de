"""Forms and JSON that are odd, broken or hostile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from time import perf_counter

import httpx
import pytest
from PIL import Image

BATCH = "/predict/batch?crop=none"


@pytest.fixture
def face(encode: Callable[..., bytes]) -> bytes:
    return encode(Image.new("L", (48, 48), 90))


def part(content: bytes, disposition: str = 'form-data; name="files"; filename="a.png"') -> bytes:
    return b"--b\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


async def send(
    client: httpx.AsyncClient, *parts: bytes, kind: str = "boundary=b", end: bytes = b"--b--\r\n", path: str = BATCH
) -> httpx.Response:
    headers = {"content-type": f"multipart/form-data; {kind}"}
    return await client.post(path, content=b"".join(parts) + end, headers=headers)


def field_of(response: httpx.Response) -> str:
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    return error["field"]


@pytest.mark.parametrize(
    "charset",
    ["punycode", "undefined", "utf-7", "unicode_escape", "idna", "utf-16", "rot13", "hex", "zip", "no-such-codec"],
)
async def test_the_charset_that_a_client_names_is_not_used(
    client: httpx.AsyncClient, face: bytes, charset: str
) -> None:
    kind = f"charset={charset}; boundary=b"
    response = await send(client, part(face, 'form-data; name="files"; filename="naïve.png"'), kind=kind)
    assert response.status_code == 200, response.text
    assert response.json()["results"][0]["filename"] == "naïve.png"
    # With what Starlette makes of it this takes minutes.
    start = perf_counter()
    text = part(b"a-" * 500_000, 'form-data; name="files"')
    assert field_of(await send(client, text, kind=kind)) == "files"
    assert perf_counter() - start < 5


async def test_text_is_refused_by_the_name_of_its_field(client: httpx.AsyncClient, face: bytes) -> None:
    for disposition, field in (
        ('form-data; name="files"', "files"),
        ('form-data; name="caption"', "caption"),
        ("form-data; name*=UTF-8''l%C3%A9gende", "légende"),
        ("form-data; filename=a.png", "files"),
        ("", "files"),
    ):
        assert field_of(await send(client, part(face), part(b"text", disposition))) == field


async def test_ten_thousand_parts_are_refused_at_the_first(client: httpx.AsyncClient) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1
            yield part(b"text", 'form-data; name="note"')

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert field_of(await client.post(BATCH, content=body(), headers=headers)) == "note"
    assert sent < 10


@pytest.mark.parametrize("end", [b"", b"--b", b"--b-", b"--", b"\r\n"])
async def test_a_form_without_its_closing_boundary_is_truncated(
    client: httpx.AsyncClient, face: bytes, end: bytes
) -> None:
    for path, name in ((BATCH, "files"), ("/predict?crop=none", "file")):
        whole = part(face, f'form-data; name="{name}"; filename=a')
        parts = [whole, whole] if name == "files" else [whole]
        response = await send(client, *parts, end=end, path=path)
        assert response.status_code == 400, response.text
        assert response.json()["type"].endswith(":unreadable-image")
        assert "truncated" in response.json()["detail"]
    # Cut within a part's head.
    cut = await send(client, part(face), b"--b\r\nContent-Dispo", end=b"")
    assert (cut.status_code, "truncated" in cut.json()["detail"]) == (400, True)
    nothing = await send(client, end=b"")
    assert (nothing.status_code, "empty" in nothing.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ("form-data; name=files; filename*=UTF-8''na%C3%AFve%20photo.jpg", "naïve photo.jpg"),
        ("form-data; name=files; filename*=utf-8'fr'na%C3%AFve.jpg; filename=naive.jpg", "naïve.jpg"),
        ("form-data; name=files; filename*=ISO-8859-1''na%EFve.jpg", "naïve.jpg"),
        ("form-data; name=files; filename*=\"utf-8''a.jpg\"", "a.jpg"),
        ("form-data;name=files;FILENAME=a.jpg", "a.jpg"),
        ('form-data; name="files"; filename="a; name=other; \\"b\\".jpg"', 'a; name=other; "b".jpg'),
        ('form-data; name="files"; filename="C:\\photos\\me.jpg"', "C:\\photos\\me.jpg"),
        ('form-data; name="files"; filename="写真.jpg"', "写真.jpg"),
        ('form-data; name="files"; filename=""', ""),
    ],
)
async def test_a_part_with_any_filename_is_a_file(
    client: httpx.AsyncClient, face: bytes, disposition: str, filename: str
) -> None:
    response = await send(client, part(face, disposition))
    assert response.status_code == 200, response.text
    [result] = response.json()["results"]
    assert (result["filename"], len(result["faces"])) == (filename, 1)


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="files"; filename="na\xefve.jpg"',
        b'form-data; name="fil\xe9s"; filename="a.jpg"',
        b"form-data; name=files; filename*=UTF-8''na%EFve.jpg",
        b"form-data; name=files; filename*=punycode''a-b",
        b"form-data; name=files; filename*=a.jpg",
    ],
)
async def test_a_name_that_is_not_utf_8_is_refused(client: httpx.AsyncClient, face: bytes, disposition: bytes) -> None:
    head = b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n"
    response = await send(client, head + face + b"\r\n")
    assert field_of(response) == "files"
    assert "UTF-8" in response.json()["detail"]


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * 5000,
        b"\r\n".join(b"X-%d: x" % number for number in range(20)),
        b"no colon",
        b"sp ace: x",
        b": x",
        b"X: x\rY: y",
    ],
)
async def test_broken_or_large_heads_of_parts_are_refused(client: httpx.AsyncClient, head: bytes) -> None:
    disposition = b'Content-Disposition: form-data; name="files"; filename="a"'
    response = await send(client, b"--b\r\n" + head + b"\r\n" + disposition + b"\r\n\r\nx\r\n")
    assert field_of(response) == "files"


@pytest.mark.parametrize("kind", ["", "charset=utf-8", "boundary=", 'boundary=""', "boundary=" + "b" * 300])
async def test_a_boundary_that_cannot_be_is_refused(client: httpx.AsyncClient, face: bytes, kind: str) -> None:
    assert field_of(await send(client, part(face), kind=kind)) == "files"


async def test_boundaries_may_be_quoted_and_cut_anywhere(client: httpx.AsyncClient, face: bytes) -> None:
    content = face + b"\r\n--bx\r\n-\r\n--"
    whole = (part(content) + part(face) + b"--b--\r\nepilogue").replace(b"--b", b"--a b")
    headers = {"content-type": 'multipart/form-data; Boundary="a b"'}

    async def body(size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    answers = [
        (await client.post(BATCH, content=body(size), headers=headers)).json()["results"] for size in (1, 7, len(whole))
    ]
    assert [one["filename"] for one in answers[0]] == ["a.png", "a.png"]
    assert [len(one["faces"]) for one in answers[0]] == [1, 1]
    assert answers[0] == answers[1] == answers[2]


async def test_the_event_loop_never_waits_long_for_a_body(client: httpx.AsyncClient) -> None:
    """Bodies of the largest size that is taken, which parse slowly or into much."""
    size = 13 * 2**20
    bodies = {
        "keys": b"{" + b",".join(b'"%d":1' % number for number in range(size // 12)) + b"}",
        "numbers": b'{"image":[' + b"1," * (size // 2) + b"1]}",
        "empty": b'{"image":[' + b"[]," * (size // 3) + b"1]}",
        "depth": b'{"image":' + b"[" * size,
        "name": b'{"' + b"k" * size + b'":1}',
        "number": b'{"image":' + b"1" * size + b"}",
        "spaces": b" " * size + b"{}",
        "escapes": b'{"image":"' + b"\\u0041" * (size // 6) + b'!"}',
    }
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, perf_counter() - before)

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]
            await asyncio.sleep(0)

    for name, body in bodies.items():
        # What one value of that size costs, here and now.
        start = perf_counter()
        json.loads(b'"' + b"A" * size + b'"')
        unit = perf_counter() - start
        watcher = asyncio.create_task(watch())
        headers = {"content-type": "application/json"}
        response = await client.post("/predict", content=pieces(body), headers=headers)
        watcher.cancel()
        assert response.status_code == 422, (name, response.text)
        assert len(response.content) < 2000, name
        assert len(response.json()["errors"]) <= 10
        # Millions of values take hundreds of times as long.
        assert longest < 30 * max(unit, 0.005), name
        longest = 0.0


async def test_only_ten_errors_are_named(client: httpx.AsyncClient) -> None:
    body = {"image": "AAAA", **{f"k{number}": 1 for number in range(40)}}
    response = await client.post("/predict", json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [f"k{number}" for number in range(10)]
    assert "30 more" in response.json()["detail"]


async def test_names_that_clients_make_up_are_shown_in_part(client: httpx.AsyncClient) -> None:
    response = await client.post("/predict", json={"image": "AAAA", "k" * 1_000_000: 1})
    assert response.status_code == 422
    assert len(response.content) < 1000


async def test_commas_within_limits_are_no_matter(client: httpx.AsyncClient) -> None:
    response = await client.post("/predict", json={"image": "data:image/png;a,b,c"})
    assert field_of(response) == "image"


async def test_a_large_image_in_json_is_taken(client: httpx.AsyncClient) -> None:
    response = await client.post("/predict", json={"image": "A" * (13 * 2**20)})
    # Not an image, but read as one.
    assert response.status_code == 415
