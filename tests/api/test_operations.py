import re
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families


async def test_health_and_readiness(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


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
    available = {"state": "AVAILABLE", "error": None, "classes": classes}
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

    monkeypatch.setattr("api.routes.predict.faces_out", bug)
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
