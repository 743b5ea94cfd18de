"""Both clients against the real service: a gateway process, and a real model server behind it."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from emotion_client import (
    AsyncClient,
    BadImage,
    Client,
    Dropped,
    EmotionError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Problem,
    StreamResult,
    Unavailable,
    Unreachable,
)
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer
from tests.ports import free_port

ADMIN = "an-admin-key-of-the-test"


@pytest.fixture(scope="module")
def gateway(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("client")
    settings = {"model_server": model_server.address, "record": "all", "admin_key": ADMIN}
    with closing(GatewayProcess(folder, **settings)) as process:
        yield process


def test_a_photo_a_batch_an_explanation_and_a_picture(
    gateway: GatewayProcess, one_face: bytes, two_faces: bytes, tmp_path: Path
) -> None:
    (tmp_path / "two.jpg").write_bytes(two_faces)
    with Client(gateway.url) as client:
        found = client.predict(tmp_path / "two.jpg", model="residual", max_faces=5)
        assert len(found.faces) == 2
        assert found.model.name == "residual"
        assert sum(found.faces[0].probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert found.faces[0].box.width > 0
        batch = client.batch({"a.jpg": one_face, "b.jpg": b"no photo"})
        assert [result.filename for result in batch.results] == ["a.jpg", "b.jpg"]
        assert batch.results[0].faces
        assert batch.results[1].problem
        assert batch.results[1].problem["status"] in (400, 415)
        assert len(client.batch([one_face, tmp_path / "two.jpg"]).results) == 2
        # The test's models have no such signature.
        with pytest.raises(Problem) as unexplained:
            client.explain(one_face)
        assert (unexplained.value.status, unexplained.value.name) == (501, "not-explained")
        assert client.annotated(one_face, kind="jpeg", lang="vi").startswith(b"\xff\xd8")
        assert client.health().ready
        [model] = [model for model in client.models() if model.default]
        assert model.name == "residual"
        assert "AVAILABLE" in {version.state for version in model.versions}


def test_each_error_is_an_exception_of_its_own(gateway: GatewayProcess, one_face: bytes) -> None:
    with Client(gateway.url) as client:
        with pytest.raises(BadImage) as bad:
            client.predict(b"no photo")
        assert bad.value.name in ("unreadable-image", "unsupported-format")
        assert bad.value.request_id
        with pytest.raises(NotFound, match="none"):
            client.predict(one_face, model="none")
        with pytest.raises(InvalidRequest) as wrong:
            client.predict(one_face, min_face=-1)
        assert set(wrong.value.errors) == {"min_face"}
        with pytest.raises(NotAllowed):
            client.report("nothing")
        with pytest.raises(FileNotFoundError):
            client.predict("no-such-file.jpg")


def test_feedback_and_keys(gateway: GatewayProcess, one_face: bytes) -> None:
    with Client(gateway.url, key=ADMIN, subject="Zoë") as client:
        prediction = client.predict(one_face)
        said = client.feedback(prediction.id, emotion="sad")
        assert (said.prediction_id, said.emotion) == (prediction.id, "sad")
        with pytest.raises(NotFound):
            client.report("a/b")
    with pytest.raises(NotAllowed), Client(gateway.url, key="wrong") as client:
        client.predict(one_face)


def test_where_nothing_answers_the_url_is_named(one_face: bytes) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=1) as client:
        with pytest.raises(Unreachable, match=f"{url}: cannot be reached .*`make serve`"):
            client.predict(one_face)
        with pytest.raises(Unreachable):
            client.health()


class _Busy(BaseHTTPRequestHandler):
    """Refuses twice, and then answers."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1  # type: ignore[attr-defined]
        refused = self.server.asked <= self.server.refusals  # type: ignore[attr-defined]
        body = (
            b'{"type":"urn:x:overloaded","title":"Overloaded","status":503,"detail":"busy"}'
            if refused
            else self._answer
        )
        self.send_response(503 if refused else 200)
        if refused:
            self.send_header("Retry-After", self.server.after)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    _answer = b'{"id":"1","model":{"name":"m","version":1},"image":{"width":1,"height":1},"faces":[],"new":"member"}'

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Busy)
    server.asked, server.refusals, server.after = 0, 2, "1"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(busy: HTTPServer) -> None:
    start = time.monotonic()
    with Client(f"http://127.0.0.1:{busy.server_port}") as client:
        assert client.predict(b"photo").faces == []
    assert busy.asked == 3  # type: ignore[attr-defined]
    assert time.monotonic() - start >= 2


def test_retries_end_with_the_problem_and_never_go_beyond_the_time(busy: HTTPServer) -> None:
    busy.refusals = 99  # type: ignore[attr-defined]
    busy.after = "60"  # type: ignore[attr-defined]
    with Client(f"http://127.0.0.1:{busy.server_port}", timeout_s=5) as client, pytest.raises(Unavailable) as problem:
        client.predict(b"photo")
    assert busy.asked == 1  # type: ignore[attr-defined]
    assert problem.value.retry_after_s == 60


def test_what_is_no_service_of_ours_is_said(busy: HTTPServer) -> None:
    busy.refusals = 0  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{busy.server_port}"
    with Client(url) as client, pytest.raises(EmotionError, match="is no answer of this service"):
        client.batch({"a": b"photo"})


async def test_the_async_client_does_the_same_beside_each_other(gateway: GatewayProcess, one_face: bytes) -> None:
    async with AsyncClient(gateway.url) as client:
        answers = await asyncio.gather(*(client.predict(one_face) for _ in range(4)))
        assert {len(answer.faces) for answer in answers} == {1}
        with pytest.raises(BadImage):
            await client.predict(b"no photo")
        assert (await client.health()).ready
        assert await client.models()


async def test_a_stream_has_one_reply_a_frame(gateway: GatewayProcess, one_face: bytes) -> None:
    async def frames() -> AsyncIterator[bytes]:
        for content in (one_face, b"no photo", one_face):
            yield content
            await asyncio.sleep(0.3)

    async with AsyncClient(gateway.url) as client:
        replies = [reply async for reply in client.stream(frames(), smoothing=False)]
        assert [type(reply) for reply in replies] in (
            [StreamResult, BadImage, StreamResult],
            [Dropped, BadImage, StreamResult],
        )
        assert isinstance(replies[2], StreamResult)
        assert replies[2].faces[0].track >= 1
        with pytest.raises(Problem):
            [reply async for reply in client.stream(frames(), model="none")]
    async with AsyncClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unreachable):
            [reply async for reply in client.stream(frames())]


def test_importing_it_loads_neither_numpy_nor_opencv() -> None:
    check = "import sys, emotion_client; sys.exit(bool({'numpy', 'cv2', 'PIL', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
