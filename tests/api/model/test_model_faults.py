"""What a healthy model server never does: a fake one that answers wrongly, late or not at all."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image

from api.model.client import FACES_PER_CALL
from faces.decode import Grey
from faces.geometry import Box
from tests.api.fake_model_server import FakeModelServer, answer, serve
from tests.api.made_up_detectors import made_up
from wire import serving_pb2 as pb

PREFIX = "urn:problem-type:emotion-serving:"


@pytest.fixture
async def fake(classes: list[str]) -> AsyncIterator[FakeModelServer]:
    async def healthy(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        return answer(request, classes)

    async with serve(healthy) as fake:
        yield fake


@pytest.fixture
def face(encode: Callable[..., bytes]) -> dict[str, bytes]:
    return {"file": encode(Image.new("L", (48, 48), 100))}


async def post(client: httpx.AsyncClient, face: dict[str, bytes], query: str = "") -> httpx.Response:
    return await client.post(f"/predict?crop=none{query}", files=face)


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == PREFIX + slug
    if status == 503:
        assert int(response.headers["retry-after"]) > 0
    return response.json()


@pytest.mark.parametrize(
    ("code", "status", "slug"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503, "model-server-unavailable"),
        (grpc.StatusCode.CANCELLED, 503, "model-server-unavailable"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 503, "model-server-unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, "deadline-exceeded"),
        (grpc.StatusCode.INVALID_ARGUMENT, 502, "bad-model-answer"),
        (grpc.StatusCode.INTERNAL, 502, "bad-model-answer"),
        (grpc.StatusCode.UNIMPLEMENTED, 502, "bad-model-answer"),
        # Loaded by the time GetModelStatus is asked: worth another try.
        (grpc.StatusCode.NOT_FOUND, 503, "version-not-loaded"),
    ],
)
async def test_status_codes(
    open_gateway: Callable,
    fake: FakeModelServer,
    face: dict[str, bytes],
    code: grpc.StatusCode,
    status: int,
    slug: str,
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        await context.abort(code, "10.0.0.7:8500 said no")
        raise AssertionError

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        response = await post(client, face)
        assert_problem(response, status, slug)
        assert "10.0.0.7" not in response.text


@pytest.mark.parametrize("state", ["START", "LOADING", "UNLOADING", "END"])
async def test_a_known_version_that_is_not_available(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], state: str
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
        raise AssertionError

    fake.predict = predict
    fake.states = {4: pb.ModelVersionStatus.State.Value(state)}
    async with open_gateway(model_server=fake.address) as client:
        problem = assert_problem(await post(client, face, "&version=4"), 503, "version-not-loaded")
        assert problem["state"] == state
        assert state in assert_problem(await post(client, face), 503, "version-not-loaded")["detail"]
        ready = assert_problem(await client.get("/readyz"), 503, "not-ready")
        assert state in ready["detail"]


BAD_SCORES = {
    "NaN": np.full((1, 7), np.nan, np.float32),
    "sum": np.full((1, 7), 0.2, np.float32),
    "negative": np.array([[-1, 2, 0, 0, 0, 0, 0]], np.float32),
    "rows": np.full((2, 7), 1 / 7, np.float32),
    "rank": np.full(7, 1 / 7, np.float32),
    "columns": np.full((1, 5), 1 / 5, np.float32),
}


@pytest.mark.parametrize("fault", BAD_SCORES)
async def test_bad_scores(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str], fault: str
) -> None:
    async with open_gateway(model_server=fake.address) as client:
        assert (await post(client, face)).status_code == 200

        async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
            return answer(request, classes, BAD_SCORES[fault])

        fake.predict = predict
        assert_problem(await post(client, face), 502, "bad-model-answer")


BROKEN_CONTENT = {
    "bytes that are no numbers": b"\0" * 27,
    "one number too few": b"\0" * 24,
    "one number too many": b"\0" * 32,
    "a single byte": b"x",
    "numbers of NaN": b"\xff" * 28,
}


@pytest.mark.parametrize("fault", BROKEN_CONTENT)
async def test_broken_tensor_content(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str], fault: str
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        response = answer(request, classes)
        response.outputs["scores"].ClearField("float_val")
        response.outputs["scores"].tensor_content = BROKEN_CONTENT[fault]
        return response

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        assert_problem(await post(client, face), 502, "bad-model-answer")


@pytest.mark.parametrize("tensor", ["scores", "classes"])
@pytest.mark.parametrize("shape", [(-1, -7), (0, 0), (1, -7), (1, 2**62), (1,), ()])
async def test_shapes_that_cannot_be(
    open_gateway: Callable,
    fake: FakeModelServer,
    face: dict[str, bytes],
    classes: list[str],
    tensor: str,
    shape: tuple[int, ...],
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        response = answer(request, classes)
        dims = [pb.TensorShapeProto.Dim(size=size) for size in shape]
        response.outputs[tensor].tensor_shape.CopyFrom(pb.TensorShapeProto(dim=dims))
        return response

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        assert_problem(await post(client, face), 502, "bad-model-answer")


async def test_an_answer_that_is_no_message(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes]
) -> None:
    class Junk:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return b"\xff\xff\xff"

    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> Junk:
        return Junk()

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        assert_problem(await post(client, face), 502, "bad-model-answer")


async def test_a_pinned_version_that_another_answers(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], encode: Callable[..., bytes]
) -> None:
    async with open_gateway(model_server=fake.address) as client:
        assert (await post(client, face, "&version=1")).status_code == 200
        problem = assert_problem(await post(client, face, "&version=4"), 502, "bad-model-answer")
        assert "version 4 was asked for, and version 1 answered" in problem["detail"]

        # Without a face the version is looked up, which the fake answers as asked.
        blank = {"file": encode(Image.new("L", (300, 200), 90))}
        assert (await client.post("/predict?version=4", files=blank)).json()["model"]["version"] == 4
        fake.version_of_metadata = 3
        assert_problem(await client.post("/predict?version=4", files=blank), 502, "bad-model-answer")
        fake.version_of_metadata = 0
        assert_problem(await client.post("/predict", files=blank), 502, "bad-model-answer")


async def test_a_state_that_only_newer_servers_have(open_gateway: Callable, fake: FakeModelServer) -> None:
    fake.states = {1: pb.ModelVersionStatus.AVAILABLE, 2: 77}
    async with open_gateway(model_server=fake.address) as client:
        [model] = (await client.get("/models")).json()["models"]
        assert [(one["version"], one["state"]) for one in model["versions"]] == [(2, "77"), (1, "AVAILABLE")]


def many_faces(grey: Grey) -> list[Box]:
    return [Box(index, 0, 20, 20) for index in range(50)]


@pytest.mark.parametrize("query", ["", "?label=stable", "?version=1"])
async def test_more_faces_than_a_call_takes_go_in_several_to_one_version(
    open_gateway: Callable, fake: FakeModelServer, classes: list[str], encode: Callable[..., bytes], query: str
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        tensor = request.inputs["faces"]
        faces = np.frombuffer(tensor.tensor_content, "<f4").reshape(tensor.tensor_shape.dim[0].size, -1)
        # Each face's scores tell which one it is.
        bright = (faces.mean(axis=1, keepdims=True) + 1) / 2
        scores = np.concatenate([bright, 1 - bright, np.zeros((len(faces), 5))], axis=1).astype(np.float32)
        # By then the label is on another version, which a request must not mix with the first.
        newest = 1 if len(fake.requests) == 1 else 2
        return answer(request, classes, scores, version=request.model_spec.version.value or newest)

    fake.predict = predict
    levels = range(0, 256, 16)
    files = [("files", encode(Image.new("L", (100, 100), level))) for level in levels]
    async with open_gateway(made_up(many_faces), model_server=fake.address) as client:
        response = await client.post(f"/predict/batch{query}", files=files)
        assert response.status_code == 200, response.text
        body = response.json()
    sent = [request.inputs["faces"].tensor_shape.dim[0].size for request in fake.requests]
    assert sum(sent) == 16 * 50
    assert max(sent) <= FACES_PER_CALL
    assert [request.model_spec.version.value for request in fake.requests[1:]] == [1] * (len(sent) - 1)
    assert body["model"]["version"] == 1
    for level, result in zip(levels, body["results"], strict=True):
        assert len(result["faces"]) == 50
        for face in result["faces"]:
            assert face["probabilities"][classes[0]] == pytest.approx(level / 255, abs=1e-5)


async def test_a_version_that_goes_in_the_middle_of_a_batch(
    open_gateway: Callable, fake: FakeModelServer, classes: list[str], encode: Callable[..., bytes]
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        if len(fake.requests) > 1:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
        return answer(request, classes)

    fake.predict = predict
    fake.states = {2: pb.ModelVersionStatus.AVAILABLE}
    files = [("files", encode(Image.new("L", (100, 100))))] * 2
    async with open_gateway(made_up(many_faces), model_server=fake.address) as client:
        assert_problem(await client.post("/predict/batch", files=files), 503, "version-not-loaded")
        fake.requests.clear()
        assert_problem(await client.post("/predict/batch?version=1", files=files), 404, "unknown-version")


@pytest.mark.parametrize("fault", ["no scores", "no version", "short values", "repeated class", "wrong dtype"])
async def test_broken_answers(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str], fault: str
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        response = answer(request, classes if fault != "repeated class" else ["happy"] * 7)
        if fault == "no scores":
            del response.outputs["scores"]
        elif fault == "no version":
            response.model_spec.ClearField("version")
        elif fault == "short values":
            del response.outputs["scores"].float_val[3:]
        elif fault == "wrong dtype":
            response.outputs["scores"].dtype = pb.DT_STRING
        return response

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        assert_problem(await post(client, face), 502, "bad-model-answer")


async def test_each_answer_brings_its_own_classes(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str]
) -> None:
    newest = 1

    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        names = classes if newest == 1 else classes[::-1]
        return answer(request, names, version=newest)

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        for _ in range(2):
            await post(client, face)
        # A new version takes over between two requests: its scores must not get the old one's names.
        newest = 2
        body = (await post(client, face)).json()
        assert body["model"]["version"] == 2
        assert list(body["faces"][0]["probabilities"]) == classes[::-1]


def with_thresholds(response: pb.PredictResponse, *thresholds: float) -> pb.PredictResponse:
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=len(thresholds))])
    found = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, float_val=thresholds)
    response.outputs["unclear_below"].CopyFrom(found)
    return response


async def test_faces_of_little_confidence_are_unclear_where_the_version_says_what_is_little(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str]
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        response = answer(request, classes, np.array([[0.4] + [0.1] * 6], np.float32), version=(below and 2) or 1)
        return with_thresholds(response, below) if below else response

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        for below, unclear in ((0.0, None), (0.41, True), (0.4, False)):  # noqa: B007 - the server answers with it
            assert (await post(client, face)).json()["faces"][0]["unclear"] is unclear
        fake.states = {2: pb.ModelVersionStatus.AVAILABLE, 1: pb.ModelVersionStatus.AVAILABLE}
        versions = (await client.get("/models")).json()["models"][0]["versions"]
    assert [version["unclear_below"] for version in versions] == [0.4, None]


@pytest.mark.parametrize("below", [[], [0.5, 0.5], [1.5], [-0.1], [float("nan")]])
async def test_broken_thresholds(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str], below: list[float]
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        return with_thresholds(answer(request, classes), *below)

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        assert_problem(await post(client, face), 502, "bad-model-answer")


async def test_models_ask_for_classes_once_per_version(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str]
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        return answer(request, classes, version=request.model_spec.version.value or 1)

    fake.predict = predict
    fake.states = dict.fromkeys((1, 2), pb.ModelVersionStatus.AVAILABLE)
    async with open_gateway(model_server=fake.address) as client:
        # Version 1 is known from its answer.
        await post(client, face)
        for _ in range(2):
            [model] = (await client.get("/models")).json()["models"]
            assert [version["classes"] for version in model["versions"]] == [classes, classes]
    assert [request.model_spec.version.value for request in fake.requests[1:]] == [2]


async def test_all_faces_travel_in_one_call(
    open_gateway: Callable, fake: FakeModelServer, encode: Callable[..., bytes]
) -> None:
    levels = (0, 128, 255)
    files = [("files", encode(Image.new("L", (48, 48), level))) for level in levels]
    async with open_gateway(model_server=fake.address) as client:
        await client.post("/predict/batch?crop=none", files=files, headers={"x-request-id": "abc-1"})
    [request] = fake.requests
    tensor = request.inputs["faces"]
    assert [dim.size for dim in tensor.tensor_shape.dim] == [3, 48, 48, 1]
    sent = np.frombuffer(tensor.tensor_content, "<f4").reshape(3, 48, 48, 1)
    for face, level in zip(sent, levels, strict=True):
        np.testing.assert_allclose(face, level / 127.5 - 1, atol=1e-6)
    assert fake.metadata["x-request-id"] == "abc-1"


async def test_unavailable_is_retried(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str]
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        if len(fake.requests) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        return answer(request, classes)

    fake.predict = predict
    async with open_gateway(model_server=fake.address) as client:
        assert (await post(client, face)).status_code == 200
    assert len(fake.requests) == 3


async def never(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_model_deadline(open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes]) -> None:
    fake.predict = never
    async with open_gateway(model_server=fake.address, model_timeout_s=0.1) as client:
        problem = assert_problem(await post(client, face), 504, "deadline-exceeded")
        assert "0.1 s" in problem["detail"]


async def test_request_deadline(
    open_gateway: Callable, fake: FakeModelServer, face: dict[str, bytes], classes: list[str]
) -> None:
    def slow(grey: Grey) -> list[Box]:
        time.sleep(0.3)
        return [Box(0, 0, 48, 48)]

    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        # The call keeps its own deadline; with the detector it passes the request's.
        await asyncio.sleep(0.3)
        return answer(request, classes)

    fake.predict = predict
    settings = {"model_timeout_s": 0.5, "request_timeout_s": 0.5}
    async with open_gateway(made_up(slow), model_server=fake.address, **settings) as client:
        problem = assert_problem(await client.post("/predict", files=face), 504, "deadline-exceeded")
        assert "0.5 s" in problem["detail"]


async def test_nobody_listens(open_gateway: Callable, face: dict[str, bytes], unused_tcp_port: int) -> None:
    async with open_gateway(model_server=f"127.0.0.1:{unused_tcp_port}") as client:
        assert_problem(await post(client, face), 503, "model-server-unavailable")
        assert_problem(await client.get("/models"), 503, "model-server-unavailable")
        ready = assert_problem(await client.get("/readyz"), 503, "not-ready")
        assert ready["reason"] == PREFIX + "model-server-unavailable"
        assert (await client.get("/healthz")).status_code == 200
        # What is wrong with the image is known without a model.
        assert_problem(await post(client, {"file": b""}), 400, "unreadable-image")
