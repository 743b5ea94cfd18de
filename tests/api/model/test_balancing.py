"""Two model servers behind one gateway: both work, and one may die under load."""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.api.conftest import OpenGateway
from tests.api.experiments.conftest import metric, until
from tests.api.model_server_process import ModelServer


@dataclass
class Pair:
    """Both serve a version 1, of which the first one's favours `disgust` and the second one's `fear`."""

    first: ModelServer
    second: ModelServer
    target: str
    client: httpx.AsyncClient
    photo: bytes

    async def ask(self) -> str:
        """The emotion. Fails the test when the request fails."""
        response = await self.client.post("/predict?crop=none", files={"file": self.photo})
        assert response.status_code == 200, response.text
        emotion: str = response.json()["faces"][0]["emotion"]
        return emotion

    async def ask_until(self, emotion: str) -> None:
        async with asyncio.timeout(30):
            while await self.ask() != emotion:
                pass


@pytest.fixture
async def pair(
    open_gateway: OpenGateway,
    run_model_server: Callable[..., ModelServer],
    repository: Path,
    tmp_path: Path,
    one_face: bytes,
) -> AsyncIterator[Pair]:
    servers = []
    for favourite in ("1", "2"):
        root = tmp_path / favourite / "residual"
        shutil.copytree(repository / favourite, root / "1")
        servers.append(run_model_server("--model_name=residual", f"--model_base_path={root}"))
    first, second = servers
    target = f"ipv4:{first.address},{second.address}"
    # Time enough for slow machines: nothing here is meant to run into a deadline.
    async with open_gateway(model_server=target, model_timeout_s=60, request_timeout_s=60) as client:
        pair = Pair(first, second, target, client, one_face)
        # Balancing begins when both are connected.
        for emotion in ("disgust", "fear"):
            await pair.ask_until(emotion)
        yield pair


async def test_they_take_turns(pair: Pair) -> None:
    assert Counter([await pair.ask() for _ in range(40)]) == {"disgust": 20, "fear": 20}


@pytest.mark.drill
async def test_one_is_killed_under_load_and_comes_back(pair: Pair) -> None:
    stop = asyncio.Event()

    async def keep_asking() -> Counter[str]:
        emotions: Counter[str] = Counter()
        while not stop.is_set():
            emotions[await pair.ask()] += 1
        return emotions

    load = [asyncio.create_task(keep_asking()) for _ in range(4)]
    # Frozen first, so that calls are in flight on it when it dies.
    pair.second.freeze()
    more = [asyncio.create_task(pair.ask()) for _ in range(8)]
    _, stuck = await asyncio.wait(more, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(pair.second.stop, signal.SIGKILL)
    assert {await task for task in stuck} == {"disgust"}

    await asyncio.to_thread(pair.second.start)
    await pair.ask_until("fear")
    stop.set()
    answered = sum([await task for task in load], Counter())
    assert answered["disgust"] > 0
    assert answered["fear"] > 0
    assert Counter([await pair.ask() for _ in range(40)]) == {"disgust": 20, "fear": 20}


@pytest.mark.drill
async def test_one_hangs_under_load(
    pair: Pair, open_gateway: OpenGateway, encode: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Its process is stopped, so that its connections stay and nothing on them is answered."""
    face = {"file": encode(Image.new("L", (48, 48), 100))}
    loop = asyncio.get_running_loop()
    # When each request began, and what came of it.
    answers: list[tuple[float, str]] = []
    stop = asyncio.Event()

    async with open_gateway(model_server=pair.target) as client:

        async def keep_asking() -> None:
            while not stop.is_set():
                begin = loop.time()
                response = await client.post("/predict?crop=none", files=face)
                done = response.status_code == 200
                answers.append((begin, response.json()["faces"][0]["emotion"] if done else response.text))

        load = [asyncio.create_task(keep_asking()) for _ in range(8)]
        await asyncio.sleep(3)
        assert {emotion for _, emotion in answers} == {"disgust", "fear"}
        pair.second.freeze()
        frozen = loop.time()
        await asyncio.sleep(12)
        # What was sent to the stopped process was answered by the other one.
        late = [record.getMessage() for record in caplog.records if "did not answer" in record.getMessage()]
        assert len(late) >= 2
        assert all(f"ipv4:{pair.second.address} did not answer" in message for message in late)
        retries = await metric(client, "emotion_model_server_retries_total", reason="timeout")
        assert retries == len(late)

        async def left_alone() -> bool:
            return await metric(client, "emotion_model_server_addresses", state="left-alone") == 1

        # Whenever it is not just being tried.
        await until(left_alone)
        during = [(begin - frozen, emotion) for begin, emotion in answers if begin > frozen]
        assert {emotion for _, emotion in during} == {"disgust"}
        assert len([begin for begin, _ in during if begin > 1]) > 100
        # Each attempt on the stopped one holds a request up; they are few.
        assert len(late) <= 0.01 * len(during) + 8

        pair.second.thaw()

        async def back() -> bool:
            return answers[-1][1] == "fear"

        await until(back)
        stop.set()
        await asyncio.gather(*load)
    assert {emotion for _, emotion in answers} == {"disgust", "fear"}


@pytest.mark.drill
async def test_the_only_one_hangs(pair: Pair, open_gateway: OpenGateway, encode: Callable[..., bytes]) -> None:
    face = {"file": encode(Image.new("L", (48, 48), 100))}
    loop = asyncio.get_running_loop()
    async with open_gateway(model_server=pair.first.address, model_timeout_s=2) as client:

        async def ask() -> tuple[int, float]:
            begin = loop.time()
            response = await client.post("/predict?crop=none", files=face)
            assert response.status_code != 503 or int(response.headers["retry-after"]) >= 1
            return response.status_code, loop.time() - begin

        assert (await ask())[0] == 200
        pair.first.freeze()
        assert [(await ask())[0] for _ in range(2)] == [504, 504]
        refused = [await ask() for _ in range(20)]
        assert {status for status, _ in refused} == {503}
        assert sum(seconds for _, seconds in refused) < 2
        pair.first.thaw()

        async def back() -> bool:
            return (await ask())[0] == 200

        await until(back)
