"""A variant that cannot answer, and who answers for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from PIL import Image

from api.experiments.assignment import Assignment
from api.experiments.breaker import Breakers
from api.experiments.config import parse
from api.experiments.fallback import Fallback
from api.observe.metrics import Metrics
from tests.api.experiments.conftest import (
    ADMIN,
    ADMIN_KEY,
    CONTROL,
    OF_NEW,
    TREATMENT,
    Fault,
    Versions,
    WriteExperiment,
    fails_with,
    hangs,
    metric,
    until,
)
from wire.target import Target

LABELS = {"experiment": "trial", "variant": "new"}
NEVER_OPEN = {"breaker_failures": 1000}


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"version": 3}, "version-not-loaded"),
        ({"version": 9}, "unknown-version"),
        ({"label": "nightly"}, "unknown-label"),
        ({"model": "ghost", "version": 1}, "unknown-model"),
    ],
)
async def test_what_a_real_model_server_does_not_have(
    open_gateway: Callable,
    model_server: Any,
    write_experiment: WriteExperiment,
    ask: Callable,
    encode: Callable[..., bytes],
    target: dict[str, Any],
    reason: str,
) -> None:
    missing = {"name": "new", "model": "residual", "weight": 50, **target}
    path = write_experiment(variants=[CONTROL, missing])
    settings = {"model_server": model_server.address, "models": ["residual", "ghost"], "experiments": path}
    async with open_gateway(**settings, **NEVER_OPEN) as client:
        body = (await ask(client, headers=OF_NEW)).json()
        assert (body["experiment"], body["variant"], body["fallback"]) == ("trial", "new", True)
        assert body["model"] == {"name": "residual", "version": 1, "label": None}
        assert body["faces"][0]["emotion"] == "disgust"

        # Whether there is a face in it changes nothing.
        blank = {"file": encode(Image.new("L", (48, 48)))}
        body = (await client.post("/predict", files=blank, headers=OF_NEW)).json()
        assert (body["faces"], body["fallback"]) == ([], True)

        files = [("files", blank["file"])]
        body = (await client.post("/predict/batch?crop=none", files=files, headers=OF_NEW)).json()
        assert (body["variant"], body["fallback"], body["model"]["version"]) == ("new", True, 1)
        assert await metric(client, "emotion_experiment_fallbacks_total", reason=reason, **LABELS) == 3
        assert await metric(client, "emotion_experiment_requests_total", forced="false", **LABELS) == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (fails_with(grpc.StatusCode.INTERNAL), "bad-model-answer"),
        (fails_with(grpc.StatusCode.INVALID_ARGUMENT), "bad-model-answer"),
        (fails_with(grpc.StatusCode.DEADLINE_EXCEEDED), "deadline-exceeded"),
        (hangs, "deadline-exceeded"),
    ],
)
async def test_a_variant_that_fails(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    fault: Fault,
    reason: str,
) -> None:
    versions.faults[2] = fault
    # A call may take as long as the whole request: the variant must leave the control its half.
    settings = {"model_timeout_s": 4, "request_timeout_s": 4}
    async with open_gateway(model_server=versions.address, experiments=write_experiment(), **settings) as client:
        response = await ask(client, headers=OF_NEW)
        assert response.status_code == 200, response.text
        assert (response.json()["fallback"], response.json()["model"]["version"]) == (True, 1)
        assert await metric(client, "emotion_experiment_fallbacks_total", reason=reason, **LABELS) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_variant_whose_queue_is_full(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable, code: grpc.StatusCode
) -> None:
    """TF Serving says so with the code of a server that is down."""
    versions.faults[2] = fails_with(code)
    settings = {"experiments": write_experiment(), "breaker_failures": 1, "admin_key": ADMIN_KEY}
    async with open_gateway(model_server=versions.address, breaker_open_s=3600, **settings) as client:
        response = await ask(client, headers=OF_NEW)
        assert response.status_code == 200, response.text
        assert (response.json()["fallback"], response.json()["model"]["version"]) == (True, 1)
        reason = "model-server-unavailable"
        assert await metric(client, "emotion_experiment_fallbacks_total", reason=reason, **LABELS) == 1
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert [variant["circuit"] for variant in listed["variants"]] == ["closed", "open"]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_model_server_that_is_down_is_nobodys_fault(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable, code: grpc.StatusCode
) -> None:
    versions.faults = {1: fails_with(code), 2: fails_with(code)}
    settings = {"experiments": write_experiment(), "breaker_failures": 1, "admin_key": ADMIN_KEY}
    async with open_gateway(model_server=versions.address, **settings) as client:
        response = await ask(client, headers=OF_NEW)
        assert response.status_code == 503
        assert response.json()["type"].endswith(":model-server-unavailable")
        assert "emotion_experiment_fallbacks_total{" not in (await client.get("/metrics")).text
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert [variant["circuit"] for variant in listed["variants"]] == ["closed", "closed"]


@pytest.mark.parametrize(("seconds", "state"), [(0.1, "closed"), (1.0, "open")])
async def test_too_little_time_is_not_the_variants_fault(
    write_experiment: WriteExperiment, seconds: float, state: str
) -> None:
    """A variant gets half of the time."""
    path = write_experiment()
    trial = parse(path.read_bytes(), path, ["residual"]).experiments[0]
    breakers = Breakers(failures=1, open_s=3600)
    fallback = Fallback(breakers, Metrics(), timeout_s=0.1)

    async def score(target: Target) -> str:
        if target.version == 2:
            await asyncio.Event().wait()
        return "answer"

    deadline = asyncio.get_running_loop().time() + seconds
    answer, target, fell_back = await fallback.answer(
        Assignment(trial, trial.variants[1], forced=False, subject=None), score, deadline
    )
    assert (answer, target.version, fell_back) == ("answer", 1, True)
    assert breakers[Target("residual", 2)].state == state


async def test_nobody_answers_for_the_control(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    versions.faults = {1: fails_with(grpc.StatusCode.INTERNAL), 2: fails_with(grpc.StatusCode.INTERNAL)}
    # A variant of the control's own target, as in an A/A test, has nobody else either.
    path = write_experiment(variants=[CONTROL, TREATMENT, CONTROL | {"name": "same"}])
    async with open_gateway(model_server=versions.address, experiments=path, **NEVER_OPEN) as client:
        for variant, calls in (("old", 1), ("same", 1), ("new", 2)):
            versions.server.requests.clear()
            response = await ask(client, headers={"X-Variant": variant})
            assert response.status_code == 502
            assert response.json()["type"].endswith(":bad-model-answer")
            assert len(versions.server.requests) == calls
        assert "emotion_experiment_fallbacks_total{" not in (await client.get("/metrics")).text


async def test_a_failing_variant_is_left_alone_and_tried_again(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    versions.faults[2] = fails_with(grpc.StatusCode.INTERNAL)
    settings = {"experiments": write_experiment(), "breaker_failures": 3, "admin_key": ADMIN_KEY}
    async with open_gateway(model_server=versions.address, breaker_open_s=3600, **settings) as client:
        for _ in range(5):
            assert (await ask(client, headers=OF_NEW)).json()["fallback"] is True
        assert len(versions.asked(2)) == 3
        fallbacks = "emotion_experiment_fallbacks_total"
        assert await metric(client, fallbacks, reason="bad-model-answer", **LABELS) == 3
        assert await metric(client, fallbacks, reason="circuit-open", **LABELS) == 2
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert [variant["circuit"] for variant in listed["variants"]] == ["closed", "open"]
        # A request that names the version itself asks it all the same.
        assert (await ask(client, query="&version=2")).status_code == 502

    async with open_gateway(model_server=versions.address, breaker_open_s=0.05, **settings) as client:
        for _ in range(3):
            assert (await ask(client, headers=OF_NEW)).json()["fallback"] is True
        versions.faults.clear()

        async def recovered() -> bool:
            return (await ask(client, headers=OF_NEW)).json()["fallback"] is False

        await until(recovered)
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert [variant["circuit"] for variant in listed["variants"]] == ["closed", "closed"]


async def test_what_testers_force_opens_no_circuit_for_the_others(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    versions.faults[2] = fails_with(grpc.StatusCode.INTERNAL)
    settings = {"experiments": write_experiment(), "breaker_failures": 2, "admin_key": ADMIN_KEY}
    async with open_gateway(model_server=versions.address, breaker_open_s=3600, **settings) as client:
        for _ in range(5):
            assert (await ask(client, headers={"X-Variant": "new"})).json()["fallback"] is True
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert [variant["circuit"] for variant in listed["variants"]] == ["closed", "closed"]
        # Nor does a success close one, or find one closed to it.
        for _ in range(2):
            await ask(client, headers=OF_NEW)
        del versions.faults[2]
        assert (await ask(client, headers={"X-Variant": "new"})).json()["fallback"] is False
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert [variant["circuit"] for variant in listed["variants"]] == ["closed", "open"]
        assert (await ask(client, headers=OF_NEW)).json()["fallback"] is True
