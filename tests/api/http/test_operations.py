import re
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from api.observe import metrics as metrics_module
from api.observe.version import package_version


async def test_health_and_readiness(client: httpx.AsyncClient) -> None:
    for path, expected in (("/healthz", {"status": "ok"}), ("/readyz", {"status": "ok", "detector": "mtcnn"})):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, expected)


async def test_not_ready_without_the_default_model_or_label(open_gateway: Callable, model_server: object) -> None:
    for wrong in (
        {"models": ["ghost"], "default_model": "ghost"},
        {"default_label": "nightly"},
    ):
        async with open_gateway(model_server=model_server.address, **wrong) as client:
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.json()["type"].endswith(":not-ready")
            assert next(iter(wrong.values()))[0] in response.json()["detail"]


async def test_ready_by_label(open_gateway: Callable, model_server: object) -> None:
    async with open_gateway(model_server=model_server.address, default_label="stable") as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_models(open_gateway: Callable, model_server: object, classes: list[str]) -> None:
    async with open_gateway(model_server=model_server.address, models=["residual", "ghost"]) as client:
        residual, ghost = (await client.get("/models")).json()["models"]
    assert (residual["name"], residual["default"]) == ("residual", True)
    broken, second, first = residual["versions"]
    assert (broken["version"], broken["state"], broken["classes"]) == (3, "END", None)
    assert broken["error"]
    available = {"state": "AVAILABLE", "error": None, "classes": classes, "unclear_below": None}
    assert second == available | {"version": 2, "labels": ["canary"]}
    assert first == available | {"version": 1, "labels": ["stable"]}
    assert ghost == {"name": "ghost", "default": False, "versions": []}


def series(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics(client: httpx.AsyncClient, two_faces: bytes) -> None:
    await client.post("/predict?version=1", files={"file": two_faces})
    await client.post("/predict", files={"file": b"x"})
    await client.post("/predict/batch", files=[("files", two_faces), ("files", b"")])
    await client.get("/nowhere/12345")
    found = series((await client.get("/metrics")).text)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("emotion_http_requests_total", route="/predict", status="200") == 1
    assert value("emotion_http_requests_total", route="/predict", status="415") == 1
    assert value("emotion_http_requests_total", route="/predict/batch", status="200") == 1
    assert value("emotion_http_requests_total", route="unmatched", status="404") == 1
    assert value("emotion_http_request_seconds_count", route="/predict") == 2
    assert value("emotion_faces_total", model="residual", version="1") == 2
    assert value("emotion_faces_total", model="residual", version="2") == 2
    assert value("emotion_errors_total", type="unsupported-format") == 1
    assert value("emotion_errors_total", type="unreadable-image") == 1
    assert value("emotion_errors_total", type="not-found") == 1
    for stage in ("decode", "detect", "infer"):
        labels = {"stage": stage, "model": "residual", "version": "1"}
        assert value("emotion_stage_seconds_count", **labels) == 1
        assert value("emotion_stage_seconds_sum", **labels) > 0


async def test_metrics_of_the_gateway_itself(client: httpx.AsyncClient) -> None:
    found = series((await client.get("/metrics")).text)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    [build] = [dict(labels) for name, labels in found if name == "emotion_build_info"]
    assert build["version"] == package_version()
    assert value("emotion_draining") == 0
    assert value("emotion_http_requests_in_flight") == 1
    assert value("emotion_cpu_workers_busy") == value("emotion_cpu_queue_length") == 0
    assert value("emotion_cpu_queue_limit_seconds") == 30
    assert value("process_resident_memory_bytes") > 0
    # From the start, so that the first error is an increase.
    types = {dict(labels)["type"] for name, labels in found if name == "emotion_errors_total"}
    assert {"internal-error", "detector-failed", "overloaded", "not-ready", "shutting-down"} <= types
    assert value("emotion_errors_total", type="overloaded") == 0


async def test_openmetrics_for_who_accepts_it(client: httpx.AsyncClient, one_face: bytes) -> None:
    await client.post("/predict?crop=none", files={"file": one_face})
    plain = await client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    # A request that names nothing, of a gateway without a default label.
    assert series(plain.text)["emotion_model_version", frozenset({("model", "residual"), ("label", "")})] == 2
    # What Prometheus sends.
    accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    better = await client.get("/metrics", headers={"Accept": accept})
    assert better.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {sample.name for family in parse_openmetrics(better.text) for sample in family.samples}
    assert names >= {"emotion_images_total", "emotion_stage_seconds_bucket", "emotion_build_info"}


async def test_the_version_behind_a_label(
    open_gateway: Callable, model_server: object, one_face: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_gateway(model_server=model_server.address, default_label="stable") as client:

        async def versions() -> dict[str, float]:
            found = series((await client.get("/metrics")).text)
            return {dict(labels)["label"]: value for (name, labels), value in found.items() if "model_version" in name}

        assert await versions() == {}
        # The probe asks for the default label, so that it is known without requests.
        assert (await client.get("/readyz")).status_code == 200
        assert await versions() == {"stable": 1}
        for query in ("label=canary", "model=residual", "version=1", "label=nightly"):
            await client.post(f"/predict?crop=none&{query}", files={"file": one_face})
        assert await versions() == {"stable": 1, "canary": 2}
        later = metrics_module.monotonic() + 301
        monkeypatch.setattr(metrics_module, "monotonic", lambda: later)
        await client.post("/predict?crop=none&label=canary", files={"file": one_face})
        assert await versions() == {"canary": 2}


async def test_request_id_is_taken_or_made(client: httpx.AsyncClient) -> None:
    given = await client.get("/healthz", headers={"X-Request-ID": "order-66/a"})
    assert given.headers["x-request-id"] == "order-66/a"
    for insane in ("", "x" * 129, "two words", "tab\there"):
        made = (await client.get("/healthz", headers={"X-Request-ID": insane})).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [("GET", "/nowhere", 404, "Not Found"), ("PUT", "/predict", 405, "Method Not Allowed")],
)
async def test_framework_errors_are_problems_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, title: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "about:blank"
    assert response.json()["title"] == title
    if status == 405:
        assert response.headers["allow"] == "POST"


async def test_a_bug_is_a_500_that_tells_nothing_and_logs_all(
    open_gateway: Callable,
    model_server: object,
    one_face: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("api.http.routes.predict.photos_out", bug)
    async with open_gateway(model_server=model_server.address) as client:
        response = await client.post("/predict", files={"file": one_face}, headers={"X-Request-ID": "bug-1"})
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"] == "bug-1"
        assert response.json()["type"].endswith(":internal-error")
        assert "hunter2" not in response.text
        [record] = [record for record in caplog.records if record.exc_info]
        assert "hunter2" in str(record.exc_info[1])
        assert 'status="500"' in (await client.get("/metrics")).text
