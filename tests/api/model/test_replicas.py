"""Several model servers of which some hang, and one that does: real gRPC servers whose answers the test decides."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image

from api.errors import ModelServerUnavailable
from api.model.addresses import Addresses
from api.model.channel import channel_opener
from api.model.patience import Durations, RetryBudget
from api.model.replicas import Method, Replicas
from api.model.tensors import from_array
from tests.api.experiments.conftest import metric, until
from tests.api.fake_model_server import FakeModelServer, answer, serve
from wire import serving_pb2 as pb

STATUS = Method("/tensorflow.serving.ModelService/GetModelStatus", pb.GetModelStatusResponse)
PREDICT = Method("/tensorflow.serving.PredictionService/Predict", pb.PredictResponse)


@dataclass
class Server:
    """Its version is its number, which tells who answered."""

    number: int
    fake: FakeModelServer
    working: asyncio.Event
    # None: those of every version hang.
    hangs_for: set[int] | None = None
    asked: list[str] = field(default_factory=list)
    # Answers with it once for each.
    failures: list[grpc.StatusCode] = field(default_factory=list)


@pytest.fixture
async def servers(classes: list[str]) -> AsyncIterator[list[Server]]:
    """Three of them."""

    async def start(number: int) -> Server:
        working = asyncio.Event()
        working.set()

        async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
            server.asked.append(dict(context.invocation_metadata())["x-request-id"])
            if server.failures:
                await context.abort(server.failures.pop(), "told to fail")
            if server.hangs_for is None or request.model_spec.version.value in server.hangs_for:
                await working.wait()
            return answer(request, classes, version=request.model_spec.version.value or number)

        server = Server(number, await stack.enter_async_context(serve(predict)), working)
        return server

    async with AsyncExitStack() as stack:
        yield [await start(number) for number in (1, 2, 3)]


@pytest.fixture
def face(encode: Callable[..., bytes]) -> dict[str, bytes]:
    return {"file": encode(Image.new("L", (48, 48), 100))}


def target(servers: list[Server]) -> str:
    return "ipv4:" + ",".join(server.fake.address for server in servers)


class Asking:
    """A gateway's client, whose requests have the ids 1, 2, 3 and so on."""

    def __init__(self, client: httpx.AsyncClient, face: dict[str, bytes]) -> None:
        self.client = client
        self._face = face
        self.count = 0

    async def __call__(self, query: str = "") -> httpx.Response:
        self.count += 1
        headers = {"x-request-id": str(self.count)}
        return await self.client.post(f"/predict?crop=none{query}", files=self._face, headers=headers)

    async def version(self) -> int:
        response = await self()
        assert response.status_code == 200, response.text
        version: int = response.json()["model"]["version"]
        return version

    async def connected(self, servers: int) -> None:
        async def ready() -> bool:
            return await metric(self.client, "emotion_model_server_addresses", state="ready") == servers

        await until(ready)


async def test_each_gets_its_share(open_gateway: Callable, servers: list[Server], face: dict[str, bytes]) -> None:
    async with open_gateway(model_server=target(servers)) as client:
        ask = Asking(client, face)
        await ask.connected(3)
        assert Counter([await ask.version() for _ in range(30)]) == {1: 10, 2: 10, 3: 10}


async def test_the_one_with_the_fewest_calls_in_work_is_asked(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    servers[0].working.clear()
    async with open_gateway(model_server=target(servers[:2])) as client:
        ask = Asking(client, face)
        await ask.connected(2)
        stuck = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert Counter([await ask.version() for _ in range(10)]) == {2: 10}
        servers[0].working.set()
        assert [response.status_code for response in await asyncio.gather(*stuck)] == [200, 200]


async def test_one_that_hangs_costs_no_request_and_is_left_alone(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    async with open_gateway(model_server=target(servers)) as client:
        ask = Asking(client, face)
        await ask.connected(3)
        for _ in range(60):
            await ask.version()
        begin, hung = ask.count, servers[1]
        hung.working.clear()
        hung.asked.clear()
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(40):
            start = loop.time()
            assert await ask.version() != 2
            times.append(loop.time() - start)
        # Two in a row; whoever was sent there got the answer of another one.
        assert len(hung.asked) == 2
        for request in hung.asked:
            assert int(request) > begin
            assert request in servers[0].asked + servers[2].asked
        assert sum(seconds > 0.24 for seconds in times) == 2
        assert await metric(client, "emotion_model_server_addresses", state="left-alone") == 1
        assert await metric(client, "emotion_model_server_addresses", state="ready") == 2
        assert await metric(client, "emotion_model_server_retries_total", reason="timeout") == 2

        # It is tried by one request at a time.
        async def tried() -> bool:
            assert await ask.version() != 2
            return len(hung.asked) > 2

        await until(tried)
        assert [await ask.version() != 2 for _ in range(20)] == [True] * 20
        assert len(hung.asked) == 3

        hung.working.set()

        async def back() -> bool:
            return await ask.version() == 2

        await until(back)
        assert Counter([await ask.version() for _ in range(30)]) == {1: 10, 2: 10, 3: 10}


async def test_a_hanging_one_is_passed_over_before_anybody_knows_how_long_calls_take(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    servers[0].working.clear()
    async with open_gateway(model_server=target(servers[:2]), model_timeout_s=1) as client:
        ask = Asking(client, face)
        await ask.connected(2)
        assert {await ask.version() for _ in range(6)} == {2}


async def test_a_single_one_that_hangs_is_a_fast_503_after_the_second_time_out(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    async with open_gateway(model_server=servers[0].fake.address, model_timeout_s=0.4) as client:
        ask = Asking(client, face)
        await ask.version()
        servers[0].working.clear()
        assert [(await ask()).status_code for _ in range(2)] == [504, 504]
        asked = len(servers[0].asked)
        for _ in range(20):
            refused = await ask()
            assert refused.status_code == 503
            assert refused.json()["type"].endswith(":model-server-unavailable")
            assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert len(servers[0].asked) == asked
        servers[0].working.set()

        async def answers() -> bool:
            return (await ask()).status_code == 200

        await until(answers)


async def test_a_version_that_hangs_costs_the_others_nothing(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    servers[0].hangs_for = {7}
    servers[0].working.clear()
    async with open_gateway(model_server=servers[0].fake.address, model_timeout_s=0.3) as client:
        ask = Asking(client, face)
        hanging = [(await ask("&version=7")).status_code for _ in range(3)]
        assert hanging == [504, 504, 503]
        assert [(await ask("&version=6")).status_code for _ in range(5)] == [200] * 5


async def test_a_slow_call_is_no_hang_while_others_answer(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    """A late one among others that come in time does not stand in a row."""
    async with open_gateway(model_server=servers[0].fake.address, model_timeout_s=0.3) as client:
        ask = Asking(client, face)
        for _ in range(3):
            servers[0].working.clear()
            assert (await ask()).status_code == 504
            servers[0].working.set()
            assert (await ask()).status_code == 200


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_what_one_fails_is_repeated_on_another(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes], code: grpc.StatusCode
) -> None:
    async with open_gateway(model_server=target(servers)) as client:
        ask = Asking(client, face)
        await ask.connected(3)
        servers[0].failures, servers[1].failures = [code], [code]
        assert [(await ask()).status_code for _ in range(3)] == [200] * 3
        assert not servers[0].failures
        assert not servers[1].failures
        assert await metric(client, "emotion_model_server_retries_total", reason="unavailable") == 2


async def test_what_is_wrong_everywhere_is_not_repeated(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    for server in servers:
        server.failures = [grpc.StatusCode.INTERNAL] * 9
    async with open_gateway(model_server=target(servers)) as client:
        assert (await Asking(client, face)()).status_code == 502
    assert sum(len(server.asked) for server in servers) == 1


async def test_whoever_goes_away_after_a_late_call_tells_that_it_was_late(
    open_gateway: Callable, servers: list[Server], face: dict[str, bytes]
) -> None:
    """As the half of a request's time that a variant gets, which may end just before the call's own deadline."""
    async with open_gateway(model_server=servers[0].fake.address) as client:
        ask = Asking(client, face)
        for _ in range(30):
            await ask.version()
        servers[0].working.clear()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(), 0.8)
        assert (await ask()).status_code == 503


class Listed(Addresses):
    """Those that the test says."""

    def __init__(self) -> None:
        super().__init__("serving:8500", proxy=False)
        self.found: tuple[str, ...] = ()

    async def look_up(self) -> tuple[str, ...]:
        if not self.found:
            raise OSError("Name or service not known")
        return self.found


async def test_addresses_that_come_and_go_are_followed(servers: list[Server]) -> None:
    plain = {"ca_file": None, "cert_file": None, "key_file": None, "host": None, "authority": None, "proxy": False}
    listed = Listed()
    replicas = Replicas(listed, channel_opener(tls=False, **plain), lambda reason: None)
    first, second = (f"ipv4:{server.fake.address}" for server in servers[:2])

    async def ask(method: Method = STATUS) -> str:
        spec, face = pb.ModelSpec(name="residual"), from_array(np.zeros((1, 48, 48, 1), np.float32))
        predict = pb.PredictRequest(model_spec=spec, inputs={"faces": face})
        request = predict if method is PREDICT else pb.GetModelStatusRequest(model_spec=spec)
        metadata = (("x-request-id", "1"),)
        return (await replicas.call(method, request, about=b"", size=1, timeout_s=20, metadata=metadata))[1]

    async def asked() -> set[str]:
        return {await ask() for _ in range(6)}

    async with replicas.running():
        with pytest.raises(ModelServerUnavailable):
            await ask()
        listed.found = (first,)
        await until(lambda: _now(replicas.count("ready") == 1))
        assert await asked() == {first}
        listed.found = (first, second)
        await until(lambda: _now(replicas.count("ready") == 2))
        assert await asked() == {first, second}
        # A name server that is down changes nothing.
        listed.found = ()
        await asyncio.sleep(1.2)
        assert await asked() == {first, second}

        # A call in work is let finish by an address that goes.
        servers[0].working.clear()
        calls = [asyncio.create_task(ask(PREDICT)) for _ in range(2)]
        await until(lambda: _now(bool(servers[0].asked)))
        listed.found = (second,)
        await until(lambda: _now(replicas.count("ready") == 1))
        assert await asked() == {second}
        servers[0].working.set()
        assert set(await asyncio.gather(*calls)) == {first, second}


async def _now(holds: bool) -> bool:
    return holds


@pytest.mark.parametrize(
    ("written", "addresses", "authority"),
    [
        ("ipv4:10.0.0.1:8500,10.0.0.2:8501", {"ipv4:10.0.0.1:8500", "ipv4:10.0.0.2:8501"}, None),
        ("ipv6:[fd00::1]:8500", {"ipv6:[fd00::1]:8500"}, None),
        ("127.0.0.1:8500", {"127.0.0.1:8500"}, None),
        ("[::1]:8500", {"[::1]:8500"}, None),
        ("unix:/run/serving.sock", {"unix:/run/serving.sock"}, None),
        ("dns://10.0.0.10/serving:8500", {"dns://10.0.0.10/serving:8500"}, None),
        ("localhost:8500", {"ipv4:127.0.0.1:8500"}, "localhost:8500"),
        ("dns:localhost:8500", {"ipv4:127.0.0.1:8500"}, "localhost:8500"),
        ("dns:///localhost:8500", {"ipv4:127.0.0.1:8500"}, "localhost:8500"),
    ],
)
async def test_addresses_behind_a_target(written: str, addresses: set[str], authority: str | None) -> None:
    found = Addresses(written, proxy=False)
    # Some machines have ::1 for localhost, too.
    assert set(await found.look_up()) - {"ipv6:[::1]:8500"} == addresses - {"ipv6:[::1]:8500"}
    assert found.authority == authority
    assert found.change is (authority is not None)
    # A proxy looks names up itself.
    behind = Addresses(written, proxy=True)
    if not written.startswith("ip"):
        assert await behind.look_up() == (written,)


def test_a_call_is_late_after_three_times_what_is_usual() -> None:
    durations = Durations()
    for _ in range(19):
        durations.add(0.2)
    assert durations.patience_s is None
    durations.add(0.2)
    assert durations.patience_s == pytest.approx(0.6)
    for _ in range(200):
        durations.add(0.01)
    assert durations.patience_s == 0.25
    # One in a hundred is no outlier; two of two hundred are not yet usual.
    for _ in range(3):
        durations.add(1.0)
    for _ in range(10):
        durations.add(0.01)
    assert durations.patience_s == pytest.approx(3.0)


def test_retries_stop_while_most_calls_fail() -> None:
    budget = RetryBudget()
    for _ in range(50):
        assert budget.left
        budget.fail()
    assert not budget.left
    budget.succeed()
    assert budget.left
