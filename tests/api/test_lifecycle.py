"""A model server that is killed, restarted and given new versions under traffic."""

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.drill


@pytest.fixture
def own_repository(repository: Path, tmp_path: Path) -> Path:
    root = tmp_path / "residual"
    shutil.copytree(repository / "1", root / "1")
    return root


async def test_killed_and_restarted(
    open_gateway: Callable, run_model_server: Callable, own_repository: Path, one_face: bytes
) -> None:
    server = run_model_server("--model_name=residual", f"--model_base_path={own_repository}")
    async with open_gateway(model_server=server.address) as client:

        async def ask() -> httpx.Response:
            return await client.post("/predict", files={"file": one_face})

        assert (await ask()).status_code == 200
        server.stop(signal.SIGKILL)
        for _ in range(3):
            down = await ask()
            assert down.status_code == 503
            assert down.json()["type"].endswith(":model-server-unavailable")
            assert int(down.headers["retry-after"]) > 0
        assert (await client.get("/readyz")).status_code == 503

        restart = asyncio.create_task(asyncio.to_thread(server.start))
        while not restart.done():
            assert (await ask()).status_code in (503, 200)
        await restart
        up = time.monotonic()
        while (await ask()).status_code != 200:
            assert time.monotonic() - up < 5
        assert (await client.get("/readyz")).status_code == 200


async def test_a_new_version_under_traffic_fails_no_request(
    open_gateway: Callable,
    run_model_server: Callable,
    repository: Path,
    own_repository: Path,
    one_face: bytes,
) -> None:
    server = run_model_server(
        "--model_name=residual",
        f"--model_base_path={own_repository}",
        "--file_system_poll_wait_seconds=1",
    )
    statuses: list[int] = []
    versions: list[int] = []
    emotions: set[tuple[int, str]] = set()
    flowing = asyncio.Event()
    async with open_gateway(model_server=server.address) as client:

        async def keep_asking() -> None:
            deadline = time.monotonic() + 30
            # Some more after the swap, to see the old version go.
            while time.monotonic() < deadline and versions.count(2) < 20:
                response = await client.post("/predict?crop=none", files={"file": one_face})
                statuses.append(response.status_code)
                if response.status_code == 200:
                    body = response.json()
                    flowing.set()
                    versions.append(body["model"]["version"])
                    emotions.add((body["model"]["version"], body["faces"][0]["emotion"]))
                await asyncio.sleep(0.02)

        traffic = [asyncio.create_task(keep_asking()) for _ in range(2)]
        await flowing.wait()
        partial = own_repository / ".2.partial"
        shutil.copytree(repository / "2", partial)
        partial.rename(own_repository / "2")
        await asyncio.gather(*traffic)
    assert set(statuses) == {200}
    assert versions.count(2) >= 20
    # The fixture's versions favour class 1 and class 2: no answer bears the wrong version.
    assert emotions == {(1, "disgust"), (2, "fear")}
