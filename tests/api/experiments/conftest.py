"""experiments.yaml files, and a model server of several versions, each of which can be told to misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import yaml
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from api.experiments.buckets import allocate, bucket_of
from tests.api.fake_model_server import FakeModelServer, answer, serve
from wire import serving_pb2 as pb

ADMIN_KEY = "a key of the tests"
ADMIN = {"X-Admin-Key": ADMIN_KEY}

CONTROL = {"name": "old", "model": "residual", "version": 1, "weight": 50}
TREATMENT = {"name": "new", "model": "residual", "version": 2, "weight": 50}

_OWNERS = allocate(("old", "new"), (50, 50), "old")
# Somebody to whom the split of 50 to 50 gives `new`.
OF_NEW = {"X-Subject-ID": next(name for name in map(str, range(99)) if _OWNERS[bucket_of("trial", name)] == "new")}

WriteExperiment = Callable[..., Path]
Fault = Callable[[grpc.aio.ServicerContext], Awaitable[None]]


def experiment(**members: Any) -> dict[str, Any]:
    """An experiment that runs, old (version 1) against new (version 2)."""
    return {"name": "trial", "start": "2020-01-01T00:00:00Z", "variants": [CONTROL, TREATMENT], **members}


@pytest.fixture
def write_experiment(tmp_path: Path) -> WriteExperiment:
    """Writes experiments.yaml with one experiment."""

    def run(**members: Any) -> Path:
        path = tmp_path / "experiments.yaml"
        path.write_text(yaml.safe_dump({"forced": "open", "experiments": [experiment(**members)]}))
        return path

    return run


@dataclass
class Versions:
    """Version n favours class n with probability 0.7. faults: what a version does instead of answering."""

    server: FakeModelServer
    faults: dict[int, Fault] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.server.address

    def asked(self, version: int) -> list[pb.PredictRequest]:
        return [request for request in self.server.requests if self.version(request) == version]

    def version(self, request: pb.PredictRequest) -> int:
        return self.labels.get(request.model_spec.version_label, request.model_spec.version.value)


@pytest.fixture
async def versions(classes: list[str]) -> AsyncIterator[Versions]:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        version = versions.version(request)
        if version in versions.faults:
            await versions.faults[version](context)
        scores = np.full((request.inputs["faces"].tensor_shape.dim[0].size, 7), 0.05, np.float32)
        scores[:, version] = 0.7
        return answer(request, classes, scores, version)

    async with serve(predict) as server:
        server.states = dict.fromkeys(range(1, 6), pb.ModelVersionStatus.AVAILABLE)
        versions = Versions(server)
        yield versions


def fails_with(code: grpc.StatusCode) -> Fault:
    async def fault(context: grpc.aio.ServicerContext) -> None:
        await context.abort(code, "told to fail")

    return fault


async def hangs(context: grpc.aio.ServicerContext) -> None:
    await asyncio.Event().wait()


@pytest.fixture(scope="session")
def face(encode: Callable[..., bytes]) -> dict[str, bytes]:
    """The body of a request whose whole image is one face."""
    return {"file": encode(Image.new("L", (48, 48), 100))}


@pytest.fixture
def ask(face: dict[str, bytes]) -> Callable[..., Awaitable[httpx.Response]]:
    """Sends a face; subject: the value of X-Subject-ID."""

    async def run(
        client: httpx.AsyncClient, subject: str | None = None, *, query: str = "", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        given = {"X-Subject-ID": subject} if subject is not None else {}
        return await client.post(f"/predict?crop=none{query}", files=face, headers=given | (headers or {}))

    return run


async def metric(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The value of a sample; 0 when there is no such series yet."""
    for family in text_string_to_metric_families((await client.get("/metrics")).text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the condition holds; fails after 20 seconds."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - it may be about another process or the file system
            await asyncio.sleep(0.01)
