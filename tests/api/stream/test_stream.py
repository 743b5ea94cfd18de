"""A real gateway process, a real model server, and a real client of WebSockets."""

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from api.keys.file import digest
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer

RunGateway = Callable[..., GatewayProcess]
EXPERIMENT = """
forced: open
experiments:
  - name: trial
    start: 2020-01-01T00:00:00Z
    variants:
      - {name: old, model: residual, version: 1, weight: 50}
      - {name: new, model: residual, version: 2, weight: 50}
"""


@asynccontextmanager
async def opened(
    gateway: GatewayProcess, *, origin: str | None = None, **headers: str
) -> AsyncIterator[ClientConnection]:
    url = gateway.url.replace("http", "ws") + "/v1/stream"
    protocols = [Subprotocol("emotion.v1")]
    async with connect(url, subprotocols=protocols, origin=origin, additional_headers=headers, proxy=None) as stream:  # type: ignore[arg-type]
        yield stream


async def reply(stream: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(30):
        answer: dict[str, Any] = json.loads(await stream.recv())
    return answer


async def post(gateway: GatewayProcess, path: str, photo: bytes, **headers: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        answer: dict[str, Any] = (await client.post(path, files={"file": photo}, headers=headers)).json()
    return answer


async def read_on(stream: ClientConnection) -> None:
    while True:
        await stream.recv()


async def closed(stream: ClientConnection) -> tuple[int, str]:
    """The code and reason of the close, whatever comes before."""
    async with asyncio.timeout(30):
        with pytest.raises(ConnectionClosed) as end:
            await read_on(stream)
    assert end.value.rcvd
    return end.value.rcvd.code, end.value.rcvd.reason


async def send_on(stream: ClientConnection, frame: bytes) -> None:
    while True:
        await stream.send(frame)
        await asyncio.sleep(0.1)


def metrics(gateway: GatewayProcess) -> dict[str, float]:
    lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}


@pytest.fixture
def gateway(run_gateway: RunGateway, model_server: ModelServer) -> GatewayProcess:
    return run_gateway(model_server=model_server.address)


async def test_each_frame_gets_its_result(gateway: GatewayProcess, two_faces: bytes, classes: list[str]) -> None:
    async with opened(gateway, **{"X-Request-ID": "camera-7"}) as stream:
        assert stream.subprotocol == "emotion.v1"
        assert stream.response is not None
        assert stream.response.headers["x-request-id"] == "camera-7"
        assert "sec-websocket-extensions" not in stream.response.headers
        await stream.send(json.dumps({"type": "configure", "version": 1, "max_faces": 5, "smoothing": True}))
        results = []
        for _ in range(3):
            await stream.send(two_faces)
            results.append(await reply(stream))
    posted = await post(gateway, "/v1/predict?version=1", two_faces)
    for seq, result in enumerate(results):
        assert (result["type"], result["seq"]) == ("result", seq)
        assert result["model"] == {"name": "residual", "version": 1, "label": None}
        assert result["image"] == {"width": 1024, "height": 600}
        assert set(result["timing_ms"]) == {"decode", "detect", "infer", "total"}
        assert [face["track"] for face in result["faces"]] == [1, 2]
        for face, single in zip(result["faces"], posted["faces"], strict=True):
            assert (face["box"], face["roll"], face["score"]) == (single["box"], single["roll"], single["score"])
            assert face["probabilities"] == pytest.approx(single["probabilities"], abs=1e-4)
            assert face["smoothed"] == pytest.approx(single["probabilities"], abs=1e-4)
            assert face["emotion"] == "disgust"
            assert face["unclear"] is None or isinstance(face["unclear"], bool)
    # At most one outcome a second is recorded, and only that one can be given feedback on.
    assert [result["id"] is None for result in results] == [False, True, True]
    counted = metrics(gateway)
    assert counted['emotion_stream_frames_total{outcome="result"}'] == 3
    assert counted["emotion_streams"] == 0
    assert counted['emotion_http_requests_total{route="/stream",status="1000"}'] == 1
    [line] = [line for line in map(json.loads, gateway.log.splitlines()) if line.get("path") == "/v1/stream"]
    assert (line["request_id"], line["status"], line["key"]) == ("camera-7", 1000, "anonymous")


async def test_a_frame_that_is_no_picture_is_a_problem_and_the_stream_goes_on(
    gateway: GatewayProcess, one_face: bytes
) -> None:
    async with opened(gateway) as stream:
        await stream.send(b"no picture")
        wrong = await reply(stream)
        await stream.send(one_face)
        right = await reply(stream)
    assert (wrong["type"], wrong["seq"], wrong["problem"]["status"]) == ("problem", 0, 415)
    assert wrong["problem"]["type"].endswith(":unsupported-format")
    assert (right["type"], right["seq"]) == ("result", 1)


async def test_the_newest_frame_replaces_the_one_that_waits(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes
) -> None:
    gateway = run_gateway(model_server=model_server.address, stream_fps=200, cpu_workers=1)
    async with opened(gateway) as stream:
        for _ in range(20):
            await stream.send(one_face)
        replies = [await reply(stream) for _ in range(20)]
    assert [answer["seq"] for answer in replies] == list(range(20))
    assert {answer["type"] for answer in replies} == {"result", "dropped"}
    assert {answer["reason"] for answer in replies if answer["type"] == "dropped"} <= {"busy", "late"}
    # Nothing newer came; on a machine that is busy it may be late.
    assert replies[-1].get("reason") != "busy"
    assert sum(answer["type"] == "result" for answer in replies) < 10


async def test_frames_beyond_the_rate_are_dropped(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes
) -> None:
    gateway = run_gateway(model_server=model_server.address, stream_fps=1)
    async with opened(gateway) as stream:
        for _ in range(5):
            await stream.send(one_face)
        replies = [await reply(stream) for _ in range(5)]
    assert [answer.get("reason") for answer in replies].count("rate") >= 3
    assert [answer["seq"] for answer in replies] == list(range(5))


async def test_a_frame_that_waited_is_dropped_as_late(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes, encode: Callable[..., bytes]
) -> None:
    gateway = run_gateway(model_server=model_server.address, cpu_workers=1, queue_s=20)
    # Keeps the one thread for a while.
    slow = encode(
        Image.effect_noise((700, 700), 90).resize((4900, 4900), Image.Resampling.NEAREST).convert("RGB"), "PNG"
    )
    async with opened(gateway) as stream, httpx.AsyncClient(timeout=60) as client:
        photos = [client.post(f"{gateway.url}/v1/predict", files={"file": slow}) for _ in range(10)]
        work = asyncio.gather(*photos)
        await asyncio.sleep(0.7)
        await stream.send(one_face)
        answer = await reply(stream)
        photo_answers = await work
    assert {photo.status_code for photo in photo_answers} <= {200, 504}
    assert (answer["type"], answer["reason"]) == ("dropped", "late")


@pytest.mark.parametrize(
    ("message", "slug"),
    [
        ('{"type": "configure", "modell": "residual"}', "invalid-parameter"),
        ("{", "invalid-parameter"),
        ('{"type": "configure", "model": "other"}', "unknown-model"),
        ('{"type": "configure", "version": 1, "label": "stable"}', "invalid-parameter"),
        ('{"type": "configure", "max_faces": 5000}', "invalid-parameter"),
        ('{"type": "configure", "smoothing": 11}', "invalid-parameter"),
    ],
)
async def test_a_wrong_configuration_is_a_problem_and_ends_the_stream(
    client_of: GatewayProcess, message: str, slug: str
) -> None:
    async with opened(client_of) as stream:
        await stream.send(message)
        answer = await reply(stream)
        assert answer["type"] == "problem"
        assert answer["problem"]["type"].endswith(f":{slug}")
        assert (await closed(stream))[0] == 1008


@pytest.fixture(scope="module")
def client_of(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway that several tests share."""
    process = GatewayProcess(
        tmp_path_factory.mktemp("stream"),
        model_server=model_server.address,
        cors_origins="https://app.example",
        stream_frame_bytes=100_000,
    )
    yield process
    process.close()


async def test_text_in_a_stream_that_runs_is_against_the_policy(client_of: GatewayProcess) -> None:
    async with opened(client_of) as stream:
        await stream.send('{"type": "configure"}')
        await stream.send('{"type": "configure"}')
        assert await closed(stream) == (1008, "only the first message may be text")


async def test_a_frame_that_is_too_big_closes_with_1009(client_of: GatewayProcess) -> None:
    async with opened(client_of) as stream:
        await stream.send(b"x" * 100_001)
        assert (await closed(stream))[0] == 1009


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [("https://evil.example", False), ("null", False), ("https://app.example", True), ("same", True), (None, True)],
)
async def test_pages_of_other_hosts_are_refused(client_of: GatewayProcess, origin: str | None, admitted: bool) -> None:
    given = client_of.url if origin == "same" else origin
    if admitted:
        async with opened(client_of, origin=given):
            return
    with pytest.raises(InvalidStatus) as refused:
        async with opened(client_of, origin=given):
            pass
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["type"].endswith(":forbidden")


async def test_another_subprotocol_is_refused(client_of: GatewayProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(client_of.url.replace("http", "ws") + "/v1/stream", proxy=None)
    assert refused.value.response.status_code == 400


async def test_streams_beyond_the_limit_are_told_to_try_later(
    run_gateway: RunGateway, model_server: ModelServer
) -> None:
    gateway = run_gateway(model_server=model_server.address, max_streams=1)
    async with opened(gateway), opened(gateway) as second:
        assert (await closed(second))[0] == 1013


async def test_silence_and_age_end_a_stream(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes
) -> None:
    gateway = run_gateway(model_server=model_server.address, stream_idle_s=0.5, stream_life_s=1.5)
    async with opened(gateway) as silent:
        assert await closed(silent) == (1008, "no frame for 0.5 s")
    async with opened(gateway) as busy:
        sending = asyncio.create_task(send_on(busy, one_face))
        assert (await closed(busy))[0] == 1000
        await asyncio.wait([sending])
        assert isinstance(sending.exception(), ConnectionClosed)


@pytest.mark.parametrize("drain_s", [0, 2])
async def test_a_gateway_that_stops_says_so(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes, drain_s: int
) -> None:
    gateway = run_gateway(model_server=model_server.address, drain_s=drain_s)
    async with opened(gateway) as stream:
        await stream.send(one_face)
        assert (await reply(stream))["type"] == "result"
        gateway.signal(signal.SIGTERM)
        assert (await closed(stream))[0] == 1001
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_keys_come_in_the_first_message(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"keys:\n  - {{name: shop, sha256: {digest('right')}, scopes: [predict], rate: 3/minute}}\n")
    gateway = run_gateway(model_server=model_server.address, keys_file=keys)
    async with opened(gateway) as stream:
        await stream.send(json.dumps({"type": "configure", "key": "right"}))
        replies = []
        for _ in range(3):
            await stream.send(one_face)
            replies.append(await reply(stream))
    # The stream itself counts as one.
    assert [answer.get("reason", answer["type"]) for answer in replies] == ["result", "result", "rate"]
    for first in (one_face, json.dumps({"type": "configure"}), json.dumps({"type": "configure", "key": "wrong"})):
        async with opened(gateway) as stream:
            await stream.send(first)
            answer = await reply(stream)
            assert answer["problem"]["type"].endswith(":unauthorized")
            assert (await closed(stream))[0] == 1008
    assert "wrong" not in gateway.log.replace("The key is wrong", "")


async def test_a_stream_is_one_subject_and_one_variant_and_counts_what_it_records(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(EXPERIMENT)
    database = tmp_path / "outcomes.db"
    gateway = run_gateway(
        model_server=model_server.address, experiments=path, database_url=f"sqlite:///{database}", outcome_flush_s=0.1
    )
    async with opened(gateway) as stream:
        await stream.send(json.dumps({"type": "configure", "subject": "somebody"}))
        replies, begin = [], time.monotonic()
        for _ in range(15):
            await stream.send(one_face)
            replies.append(await reply(stream))
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - begin
    # On a machine that is busy, some are late.
    results = [answer for answer in replies if answer["type"] == "result"]
    assert len({result["variant"] for result in results}) == 1
    recorded = {result["id"] for result in results} - {None}
    assert 1 <= len(recorded) <= seconds + 1
    assert len(recorded) < len(results)
    posted = await post(gateway, "/v1/predict", one_face, **{"X-Subject-ID": "somebody"})
    assert posted["variant"] == results[0]["variant"]
    gateway.signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.wait) == 0
    with sqlite3.connect(database) as opened_database:
        stored = {row[0] for row in opened_database.execute("select id from predictions")}
        assigned = opened_database.execute("select sum(assigned), sum(stored) from assignments").fetchone()
    assert stored == recorded | {posted["id"]}
    assert assigned == (len(stored), len(stored))
