"""Traces of a real gateway, as a collector and the model server see them."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from PIL import Image

from api.observe.tracing import TracingError, traced
from tests.api.conftest import RunGateway
from tests.api.experiments.conftest import until
from tests.api.fake_model_server import FakeModelServer, answer, serve
from wire import serving_pb2 as pb

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SHADOWED = {
    "name": "trial",
    "start": "2020-01-01T00:00:00Z",
    "variants": [{"name": "only", "model": "residual", "version": 1, "weight": 100}],
    "shadow": [{"name": "next", "model": "residual", "version": 2}],
}


@dataclass
class Collector:
    """Takes OTLP over HTTP."""

    endpoint: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def resource(self) -> dict[str, str]:
        [attributes] = {
            tuple((item.key, item.value.string_value) for item in resource.resource.attributes)
            for request in self.requests
            for resource in request.resource_spans
        }
        return dict(attributes)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield collector
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value") or "") for item in span.attributes}


def traceparent(server: FakeModelServer) -> list[str]:
    return [seen["traceparent"] for seen in server.all_metadata if "traceparent" in seen]


async def test_a_request_is_one_trace_into_the_model_server(
    run_gateway: RunGateway,
    collector: Collector,
    classes: list[str],
    encode: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        return answer(request, classes, version=request.model_spec.version.value)

    experiments = tmp_path / "experiments.yaml"
    experiments.write_text(yaml.safe_dump({"experiments": [SHADOWED]}))
    photo = encode(Image.new("L", (48, 48), 100))
    async with serve(predict) as server, httpx.AsyncClient(timeout=60) as client:
        server.states = dict.fromkeys((1, 2), pb.ModelVersionStatus.AVAILABLE)
        gateway = await asyncio.to_thread(
            run_gateway,
            model_server=server.address,
            experiments=experiments,
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_RESOURCE_ATTRIBUTES": "zone=a"},
        )
        headers = {"traceparent": TRACEPARENT, "X-Request-ID": "abc-1"}
        response = await client.post(f"{gateway.url}/predict?crop=none", files={"file": photo}, headers=headers)
        assert response.status_code == 200
        assert (await client.get(f"{gateway.url}/readyz")).status_code == 200
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        metrics = ""

        async def shadowed() -> bool:
            nonlocal metrics
            metrics = (await client.get(f"{gateway.url}/metrics", headers=accept)).text
            return "emotion_shadow_results_total{" in metrics

        await until(shadowed)
        gateway.signal(signal.SIGTERM)
        # What has not been sent by then is sent now.
        assert await asyncio.to_thread(gateway.wait) == 0

    [request] = collector.named("POST /predict")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert request.kind == Span.SPAN_KIND_SERVER
    seen = attributes(request)
    assert seen["http.response.status_code"] == 200
    assert (seen["emotion.request_id"], seen["emotion.experiment"], seen["emotion.variant"]) == (
        "abc-1",
        "trial",
        "only",
    )
    assert seen["emotion.fallback"] is False
    for name in ("decode", "detect"):
        [stage] = collector.named(name)
        assert (stage.trace_id, stage.parent_span_id) == (request.trace_id, request.span_id)
    calls = collector.named("tensorflow.serving.PredictionService/Predict")
    [shadow] = collector.named("shadow")
    assert shadow.parent_span_id == request.span_id
    assert attributes(shadow)["emotion.shadow"] == "next"
    assert {call.parent_span_id for call in calls} == {request.span_id, shadow.span_id}
    for call in calls:
        assert call.kind == Span.SPAN_KIND_CLIENT
        assert attributes(call)["emotion.model"] == "residual"
    # The model server was told the span of its own call. The probe's call belongs to no trace.
    assert set(traceparent(server)) == {f"00-{TRACE}-{call.span_id.hex()}-01" for call in calls}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert collector.resource()["service.name"] == "emotion-serving-gateway"
    assert collector.resource()["zone"] == "a"

    lines = [json.loads(line) for line in gateway.log.splitlines()]
    [access] = [line for line in lines if line["logger"] == "api.access" and line.get("path") == "/predict"]
    assert (access["trace_id"], access["span_id"]) == (TRACE, request.span_id.hex())
    [probe] = [line for line in lines if line.get("path") == "/readyz"]
    assert "trace_id" not in probe
    exemplars = [line for line in metrics.splitlines() if "# {" in line]
    assert len(exemplars) == 1
    assert exemplars[0].startswith('emotion_http_request_seconds_bucket{le="')
    assert f'# {{trace_id="{TRACE}"}}' in exemplars[0]


async def test_a_failed_call_is_an_error_in_its_trace(
    run_gateway: RunGateway, collector: Collector, encode: Callable[..., bytes]
) -> None:
    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        await context.abort(grpc.StatusCode.INTERNAL, "told to fail")
        raise AssertionError

    photo = encode(Image.new("L", (48, 48), 100))
    async with serve(predict) as server, httpx.AsyncClient(timeout=60) as client:
        gateway = await asyncio.to_thread(
            run_gateway,
            model_server=server.address,
            environment={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/v1/traces"},
        )
        response = await client.post(f"{gateway.url}/predict?crop=none", files={"file": photo})
        assert response.status_code == 502
        gateway.signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait) == 0
    [request] = collector.named("POST /predict")
    [call] = collector.named("tensorflow.serving.PredictionService/Predict")
    assert attributes(call)["rpc.grpc.status_code"] == grpc.StatusCode.INTERNAL.value[0]
    for span in (request, call):
        assert span.status.code == span.status.STATUS_CODE_ERROR


def test_without_the_variables_there_are_no_traces(run_gateway: RunGateway, collector: Collector) -> None:
    gateway = run_gateway()
    assert httpx.get(f"{gateway.url}/", headers={"traceparent": TRACEPARENT}).status_code == 200
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert not collector.requests
    assert "trace_id" not in gateway.log


def test_a_collector_that_hangs_delays_neither_answers_nor_the_end(run_gateway: RunGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # Left to itself, the exporter would wait for its timeout and the SDK for half a minute.
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "100"}
        gateway = run_gateway(environment=variables)
        assert httpx.get(f"{gateway.url}/").status_code == 200
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(20) == 0


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_what_cannot_be_traced_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wrong: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TracingError, match=f"^{wrong} is '{variables[wrong]}'"), traced("1"):
        pass


@pytest.mark.parametrize("off", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_the_standard_switches_turn_it_off(monkeypatch: pytest.MonkeyPatch, off: dict[str, str]) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "wrong", **off}.items():
        monkeypatch.setenv(name, value)
    with traced("1"):
        pass


def test_traces_without_the_extra_are_one_line() -> None:
    # As where `pip install emotion-serving` left the SDK out.
    script = "import sys; sys.modules['opentelemetry.sdk'] = None; from api.__main__ import main; sys.exit(main())"
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "EMOTION_PORT": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'emotion-serving[otel]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
