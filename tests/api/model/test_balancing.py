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

from tests.api.conftest import OpenGateway
from tests.api.model_server_process import ModelServer


@dataclass
class Pair:
    """Both serve a version 1, of which the first one's favours `disgust` and the second one's `fear`."""

    first: ModelServer
    second: ModelServer
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
        pair = Pair(first, second, client, one_face)
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
