"""Shadows see what was answered, and change none of it."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from PIL import Image
from scipy.spatial.distance import jensenshannon

from api.workers import CpuPool
from tests.api.experiments.conftest import (
    ADMIN,
    ADMIN_KEY,
    CONTROL,
    Fault,
    Versions,
    WriteExperiment,
    fails_with,
    hangs,
    metric,
    until,
)

LABELS = {"experiment": "trial", "shadow": "next"}
SHADOW = {"name": "next", "model": "residual", "version": 3}


def only(*shadows: dict[str, Any]) -> dict[str, Any]:
    return {"variants": [CONTROL], "shadow": list(shadows or (SHADOW,))}


async def shadow_of(client: httpx.AsyncClient) -> dict[str, Any]:
    [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
    return listed["shadow"][0]


async def shadowed(client: httpx.AsyncClient, key: str, count: int) -> dict[str, Any]:
    """The shadow once it has counted so many."""

    async def counted() -> bool:
        return (await shadow_of(client))[key] >= count

    await until(counted)
    return await shadow_of(client)


async def test_the_same_faces_are_compared_with_the_answer(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, encode: Callable[..., bytes]
) -> None:
    files = [("files", encode(Image.new("L", (48, 48), level))) for level in (0, 90, 200)]
    path = write_experiment(**only(SHADOW, SHADOW | {"name": "same", "version": 1}))
    async with open_gateway(model_server=versions.address, experiments=path, admin_key=ADMIN_KEY) as client:
        response = await client.post("/predict/batch?crop=none", files=files, headers={"X-Request-ID": "abc-1"})
        assert response.json()["model"]["version"] == 1
        shadow = await shadowed(client, "results", 1)

        async def both() -> bool:
            return await metric(client, "emotion_shadow_results_total", experiment="trial", shadow="same") == 1

        await until(both)
        # Version 1 favours one class and version 3 another, with 0.7 against 0.05 for each of the rest.
        first, third = ([0.05] * i + [0.7] + [0.05] * (6 - i) for i in (1, 3))
        divergence = jensenshannon(first, third, base=2) ** 2
        assert (shadow["faces"], shadow["agreement"], shadow["errors"]) == (3, 0, 0)
        assert shadow["divergence"] == pytest.approx(divergence, abs=1e-5)
        assert await metric(client, "emotion_shadow_faces_total", **LABELS) == 3
        assert await metric(client, "emotion_shadow_agreeing_faces_total", **LABELS) == 0
        bits = await metric(client, "emotion_shadow_divergence_bits_total", **LABELS)
        assert bits == pytest.approx(3 * divergence, abs=1e-4)
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert (listed["shadow"][1]["agreement"], listed["shadow"][1]["divergence"]) == (1, 0)
    sent, received = versions.asked(1)[0], versions.asked(3)[0]
    assert received.inputs["faces"] == sent.inputs["faces"]
    assert versions.server.metadata["x-request-id"] == "abc-1"


async def test_a_slow_shadow_changes_neither_answers_nor_their_latency(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    """The shadow never answers at all: every answer is given while as many of its calls hang as may."""
    versions.faults[3] = hangs
    path = write_experiment(**only())
    settings = {"model_server": versions.address, "experiments": path, "admin_key": ADMIN_KEY}
    async with open_gateway(**settings, shadow_concurrency=2, shadow_queue=5, model_timeout_s=10) as client:
        answers = [await ask(client) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["model"]["version"] for answer in answers} == {1}
        # A request would need its whole deadline, 10 seconds, if it waited for even one.
        assert sorted(answer.json()["timing_ms"]["total"] for answer in answers)[10] < 1000

        async def hanging() -> bool:
            return len(versions.asked(3)) == 2

        await until(hanging)
        # 2 are asked, 5 wait, the rest is dropped: which of them depends on when the workers begin.
        shadow = await shadow_of(client)
        assert 20 - 2 - 5 <= shadow["dropped"] <= 20 - 5
        assert await metric(client, "emotion_shadow_dropped_total", **LABELS) == shadow["dropped"]
        assert (shadow["results"], shadow["errors"]) == (0, 0)
        stopping = time.monotonic()
    # What hangs and what waits is given up, not awaited.
    assert time.monotonic() - stopping < 4
    assert len(versions.asked(3)) == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "model-server-unavailable"),
        (grpc.StatusCode.NOT_FOUND, "version-not-loaded"),
        (grpc.StatusCode.INTERNAL, "bad-model-answer"),
    ],
)
async def test_a_dead_shadow_is_counted_and_fails_nothing(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    code: grpc.StatusCode,
    kind: str,
) -> None:
    versions.faults[3] = fails_with(code)
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings, breaker_failures=1000, cpu_workers=16) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["fallback"] for answer in answers} == {False}
        shadow = await shadowed(client, "errors", 10)
        assert (shadow["results"], shadow["dropped"], shadow["agreement"]) == (0, 0, None)
        assert await metric(client, "emotion_shadow_errors_total", type=kind, **LABELS) == 10
        # It recovers by itself.
        versions.faults.clear()
        await ask(client)
        await shadowed(client, "results", 1)


async def test_a_dead_shadow_uses_up_no_retries_of_requests(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    """gRPC stops retrying on a channel on which most calls fail."""
    versions.faults[3] = fails_with(grpc.StatusCode.UNAVAILABLE)
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings, shadow_concurrency=64, breaker_failures=1000, cpu_workers=64) as client:
        await asyncio.gather(*(ask(client) for _ in range(60)))
        await shadowed(client, "errors", 60)
        failures = 0

        async def once(context: grpc.aio.ServicerContext) -> None:
            nonlocal failures
            failures += 1
            if failures == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "only for a moment")

        versions.faults[1] = once
        assert (await ask(client)).status_code == 200
        assert failures == 2


async def test_a_shadow_that_keeps_failing_is_left_alone_and_tried_again(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    caplog: pytest.LogCaptureFixture,
) -> None:
    versions.faults[3] = fails_with(grpc.StatusCode.INTERNAL)
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    settings |= {"breaker_failures": 3, "shadow_concurrency": 1}
    async with open_gateway(**settings, breaker_open_s=3600) as client:
        for _ in range(8):
            assert (await ask(client)).json()["fallback"] is False
        shadow = await shadowed(client, "dropped", 5)
        assert (shadow["errors"], shadow["results"]) == (3, 0)
    assert len(versions.asked(3)) == 3
    said = [record.message for record in caplog.records if record.name == "api.experiments.shadow"]
    assert said == ["shadow next of trial is left alone: The model server failed with INTERNAL."]

    caplog.set_level(logging.INFO, "api.experiments.shadow")
    async with open_gateway(**settings, breaker_open_s=0.05) as client:
        for _ in range(3):
            await ask(client)
        await shadowed(client, "errors", 3)
        versions.faults.clear()

        async def recovered() -> bool:
            await ask(client)
            return (await shadow_of(client))["results"] > 0

        await until(recovered)
    assert "shadow next of trial answers again" in caplog.text


async def test_shadows_give_way_to_images_that_wait(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings) as client:
        with monkeypatch.context() as patched:
            patched.setattr(CpuPool, "waiting", 1)
            assert (await ask(client)).status_code == 200
            await shadowed(client, "dropped", 1)
        await ask(client)
        shadow = await shadowed(client, "results", 1)
    assert (shadow["dropped"], len(versions.asked(3))) == (1, 1)


async def test_the_pool_knows_what_waits() -> None:
    pool = CpuPool(workers=1, queue_s=1)
    go_on = threading.Event()
    try:
        work = asyncio.create_task(pool.map(lambda _: go_on.wait(20), range(3)))
        await asyncio.sleep(0)
        assert pool.waiting == 2
    finally:
        go_on.set()
    await work
    pool.close()


async def test_other_classes_are_an_error(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
) -> None:
    predict = versions.server.predict

    async def renamed(request: Any, context: grpc.aio.ServicerContext) -> Any:
        response = await predict(request, context)
        if versions.version(request) == 3 and "classes" in response.outputs:
            names = response.outputs["classes"].string_val
            names[0] = b"anger"
        return response

    versions.server.predict = renamed
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings) as client:
        assert (await ask(client)).status_code == 200
        await shadowed(client, "errors", 1)
        assert await metric(client, "emotion_shadow_errors_total", type="bad-model-answer", **LABELS) == 1


async def test_its_share_of_the_answers(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    path = write_experiment(**only(SHADOW | {"share": 0.0001}, SHADOW | {"name": "all"}))
    async with open_gateway(model_server=versions.address, experiments=path, admin_key=ADMIN_KEY) as client:
        for _ in range(5):
            await ask(client)

        async def all_done() -> bool:
            return await metric(client, "emotion_shadow_results_total", experiment="trial", shadow="all") == 5

        await until(all_done)
        # Twice or more of five would happen once in ten million runs.
        assert (await shadow_of(client))["results"] <= 1


async def test_requests_outside_the_experiment_are_not_shadowed(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    encode: Callable[..., bytes],
) -> None:
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings) as client:
        await ask(client, query="&version=2")
        # Nor is an answer without a face.
        await client.post("/predict", files={"file": encode(Image.new("L", (48, 48)))})
        await ask(client)
        assert (await shadowed(client, "results", 1))["results"] == 1
    assert len(versions.asked(3)) == 1


async def test_shadows_have_connections_of_their_own(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    peers: dict[int, str] = {}

    def note(version: int) -> Fault:
        async def run(context: grpc.aio.ServicerContext) -> None:
            peers[version] = context.peer()

        return run

    versions.faults = {1: note(1), 3: note(3)}
    settings = {"model_server": versions.address, "experiments": write_experiment(**only()), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings) as client:
        await ask(client)
        await shadowed(client, "results", 1)
    assert peers[1] != peers[3]
