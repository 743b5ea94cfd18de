"""The end of a gateway: what SIGTERM does to those who ask it at that time."""

import asyncio
import json
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
from PIL import Image

from api.app import create_app
from api.observe.metrics import Metrics
from api.server import Drain, GatewayServer
from api.settings import Settings
from tests.api.conftest import RunGateway
from tests.api.experiments.conftest import until
from tests.api.fake_model_server import answer, serve
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer
from wire import serving_pb2 as pb

FOR_EVER = 300  # A second signal ends it, so that nothing here depends on how fast the machine is.


class Client(threading.Thread):
    """Asks over one persistent connection for as long as the balancer sends it here, and then three times more."""

    def __init__(self, gateway: GatewayProcess, photo: bytes, elsewhere: threading.Event) -> None:
        super().__init__()
        self._gateway, self._photo, self._elsewhere = gateway, photo, elsewhere
        self.warm = threading.Event()
        self.outcomes: list[int | str] = []
        self.closing: list[bool] = []

    def run(self) -> None:
        late = 0
        with httpx.Client(base_url=self._gateway.url, timeout=60) as http:
            while late < 3:
                late += self._elsewhere.is_set()
                try:
                    response = http.post("/predict?crop=none", files={"file": self._photo})
                except httpx.HTTPError as error:
                    self.outcomes.append(repr(error))
                else:
                    self.outcomes.append(response.status_code)
                    self.closing.append(response.headers.get("connection") == "close")
                if len(self.outcomes) >= 3:
                    self.warm.set()


@pytest.mark.drill
def test_sigterm_under_load_fails_no_request(
    run_gateway: RunGateway, model_server: ModelServer, one_face: bytes
) -> None:
    gateway = run_gateway(model_server=model_server.address, drain_s=FOR_EVER)
    elsewhere = threading.Event()
    clients = [Client(gateway, one_face, elsewhere) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        assert all(client.warm.wait(60) for client in clients)
        with httpx.Client(base_url=gateway.url, timeout=60) as balancer:
            assert balancer.get("/readyz").status_code == 200
            gateway.signal(signal.SIGTERM)
            while (ready := balancer.get("/readyz")).status_code == 200:
                pass
            assert ready.status_code == 503
            assert ready.headers["content-type"] == "application/problem+json"
            assert ready.json()["type"] == "urn:problem-type:emotion-serving:shutting-down"
            assert int(ready.headers["retry-after"]) > 0
            assert balancer.get("/healthz").status_code == 200
            assert "emotion_draining 1.0" in balancer.get("/metrics").text
    finally:
        elsewhere.set()
        for client in clients:
            client.join(60)
    assert {outcome for client in clients for outcome in client.outcomes} == {200}
    for client in clients:
        # Kept alive before, moved on from the drain on.
        assert client.closing[0] is False
        assert client.closing[-3:] == [True, True, True]
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert {json.loads(line)["level"] for line in gateway.log.splitlines()} <= {"INFO", "WARNING"}


def test_idle_connections_are_kept_longer_than_load_balancers_keep_theirs() -> None:
    settings = Settings()
    assert GatewayServer(create_app(settings), Drain(), settings, Metrics()).config.timeout_keep_alive == 75


def test_the_drain_ends_by_itself(run_gateway: RunGateway) -> None:
    gateway = run_gateway(drain_s=0.3)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert "the port closes in 0.3 s" in gateway.log


def test_ctrl_c_waits_for_no_load_balancer(run_gateway: RunGateway) -> None:
    gateway = run_gateway(drain_s=FOR_EVER)
    gateway.signal(signal.SIGINT)
    assert gateway.wait() == 0


async def test_what_is_in_flight_is_answered_and_stored(
    run_gateway: RunGateway, classes: list[str], tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        asked.set()
        await go_on.wait()
        return answer(request, classes)

    async with serve(predict) as fake, httpx.AsyncClient(timeout=60) as client:
        database = tmp_path / "stored.db"
        # The interval is longer than the test: only the end of the gateway writes the prediction.
        settings = {"record": "all", "outcome_flush_s": 60, "database_url": f"sqlite:///{database}"}
        settings |= {"request_timeout_s": 60, "model_timeout_s": 60}
        gateway = await asyncio.to_thread(run_gateway, model_server=fake.address, **settings)
        face = {"file": encode(Image.new("L", (48, 48), 100))}
        request = asyncio.create_task(client.post(f"{gateway.url}/predict?crop=none", files=face))
        await asyncio.wait_for(asked.wait(), 30)
        gateway.signal(signal.SIGTERM)
        await until(partial(asyncio.to_thread, refuses, gateway.port))
        assert not request.done()
        go_on.set()
        response = await request
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert await asyncio.to_thread(gateway.wait) == 0
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT id FROM predictions").fetchall() == [(response.json()["id"],)]
    connection.close()


def test_a_client_that_never_finishes_does_not_hold_it(run_gateway: RunGateway) -> None:
    gateway = run_gateway(drain_s=0, request_timeout_s=1, model_timeout_s=1, upload_timeout_s=600)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nx"
        )
        while "emotion_http_requests_in_flight 2.0" not in httpx.get(f"{gateway.url}/metrics").text:
            pass
        gateway.signal(signal.SIGTERM)
        with client.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["type"] == "urn:problem-type:emotion-serving:shutting-down"
    assert gateway.wait() == 0


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain(run_gateway: RunGateway, number: signal.Signals) -> None:
    gateway = run_gateway(drain_s=FOR_EVER)
    gateway.signal(signal.SIGTERM)
    while httpx.get(f"{gateway.url}/readyz").json()["type"].rsplit(":")[-1] != "shutting-down":
        pass
    gateway.signal(number)
    assert gateway.wait() == 0
