"""The examples of docs/client.md run as they stand."""

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer

CLIENT = Path(__file__).resolve().parents[2] / "docs" / "client.md"


@pytest.fixture
def gateway(model_server: ModelServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    with closing(GatewayProcess(tmp_path / "gateway", model_server=model_server.address)) as process:
        yield process


def test_the_examples_run(
    gateway: GatewayProcess, two_faces: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.jpg").write_bytes(two_faces)
    monkeypatch.chdir(tmp_path)
    text = CLIENT.read_text(encoding="utf-8").replace("http://localhost:8000", gateway.url)
    once, live = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(once, {})
    *faces, problem = said.getvalue().splitlines()
    assert len(faces) == 2
    assert problem.split()[0] in ("unreadable-image", "unsupported-format")

    async def camera() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield two_faces

    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(live, names)
        asyncio.run(names["watch"](camera()))
    assert said.getvalue().count("[(") >= 1
