"""A full queue, a slow detector, a request that gives up."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest
from PIL import Image

from faces.decode import Grey
from faces.geometry import Box
from tests.api.fake_model_server import answer, serve
from tests.api.made_up_detectors import made_up
from wire import serving_pb2 as pb


class Gate:
    """A detector that waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def find(self, grey: Grey) -> list[Box]:
        self.entered.release()
        assert self.open.wait(30)
        return [Box(0, 0, 30, 30)]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=10)


async def test_a_full_queue_is_503_at_once_and_empties(
    open_gateway: Callable, model_server: object, gate: Gate, encode: Callable[..., bytes]
) -> None:
    image = {"file": encode(Image.new("L", (60, 60)))}
    settings = {"cpu_workers": 1, "queue_s": 0}
    async with open_gateway(made_up(gate.find), model_server=model_server.address, **settings) as client:
        first = asyncio.create_task(client.post("/predict", files=image))
        await entered(gate)
        metrics = (await client.get("/metrics")).text
        assert "emotion_cpu_workers_busy 1.0" in metrics
        assert "emotion_cpu_queue_length 0.0" in metrics
        assert "emotion_http_requests_in_flight 2.0" in metrics
        refused = await client.post("/predict/batch", files=[("files", image["file"])] * 2)
        assert refused.status_code == 503
        assert refused.json()["type"].endswith(":overloaded")
        # Seconds, by the pace of a machine that may have other work.
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        gate.open.set()
        assert (await first).status_code == 200
        assert (await client.post("/predict", files=image)).status_code == 200


async def test_abandoned_work_counts_until_it_ends(
    open_gateway: Callable, model_server: object, gate: Gate, encode: Callable[..., bytes]
) -> None:
    image = {"file": encode(Image.new("L", (60, 60)))}
    settings = {
        "cpu_workers": 1,
        "queue_s": 0,
        "request_timeout_s": 0.3,
        "model_timeout_s": 0.3,
    }
    async with open_gateway(made_up(gate.find), model_server=model_server.address, **settings) as client:
        late = await client.post("/predict", files=image)
        assert (late.status_code, late.json()["type"].rsplit(":")[-1]) == (504, "deadline-exceeded")
        assert (await client.post("/predict", files=image)).status_code == 503
        gate.open.set()

        async def accepted() -> httpx.Response:
            while (response := await client.post("/predict", files=image)).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return response

        await asyncio.wait_for(accepted(), 10)


async def test_other_requests_are_answered_while_the_pool_works(
    open_gateway: Callable, model_server: object, gate: Gate, encode: Callable[..., bytes]
) -> None:
    image = {"file": encode(Image.new("L", (60, 60)))}
    async with open_gateway(made_up(gate.find), model_server=model_server.address) as client:
        busy = asyncio.create_task(client.post("/predict", files=image))
        await entered(gate)
        assert (await client.get("/healthz")).status_code == 200
        assert not busy.done()
        gate.open.set()
        assert (await busy).status_code == 200


async def test_what_would_wait_for_the_model_server_is_refused(
    open_gateway: Callable, classes: list[str], encode: Callable[..., bytes]
) -> None:
    turn = asyncio.Lock()

    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        async with turn:
            await asyncio.sleep(0.02)
            return answer(request, classes)

    face = encode(Image.new("L", (48, 48)))
    loop = asyncio.get_running_loop()

    async def one(client: httpx.AsyncClient) -> tuple[int, float, str]:
        start = loop.time()
        response = await client.post("/predict?crop=none", content=face)
        return response.status_code, loop.time() - start, response.headers.get("retry-after", "")

    async with serve(predict) as fake, open_gateway(model_server=fake.address, queue_s=0.3) as client:
        tasks = []
        for _ in range(100):
            tasks.append(asyncio.create_task(one(client)))
            await asyncio.sleep(0.005)
        answers = await asyncio.gather(*tasks)
        # And none is refused where there is no crowd.
        alone = [await one(client) for _ in range(5)]
    refused = [retry_after for status, _, retry_after in answers if status == 503]
    taken = [seconds for status, seconds, _ in answers if status == 200]
    assert refused
    assert set(refused) == {"1"}
    # All of them together would have waited 2 s.
    assert max(taken) < 1
    # It is kept busy all the while: 20 ms each.
    assert len(taken) > 15
    assert {status for status, *_ in alone} == {200}
