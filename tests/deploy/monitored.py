"""What observability/ watches: its queries, a gateway with something to show, and a model server's metrics page."""

import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import yaml
from PIL import Image

from tests.api.conftest import CLASSES
from tests.api.fake_model_server import FakeModelServer, answer, serve
from tests.deploy.pages import serve_page
from wire import serving_pb2 as pb

FOLDER = Path(__file__).resolve().parents[2] / "observability"
RULES = FOLDER / "prometheus" / "rules.yml"
CONFIG = FOLDER / "prometheus" / "prometheus.yml"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "emotion-serving.json"

ADMIN_KEY = "a key of the tests"

EXPERIMENT = {
    "name": "trial",
    "start": "2020-01-01T00:00:00Z",
    "variants": [
        {"name": "old", "model": "residual", "version": 1, "weight": 50},
        {"name": "new", "model": "residual", "version": 2, "weight": 50},
        {"name": "failing", "model": "residual", "version": 4, "weight": 0},
    ],
    "shadow": [
        {"name": "next", "model": "residual", "version": 3},
        {"name": "broken", "model": "residual", "version": 5},
    ],
}


def settings(folder: Path, server: FakeModelServer) -> dict[str, Any]:
    """Settings of a gateway with which traffic() brings forth every series that there is. folder: for its files."""
    experiments = folder / "experiments.yaml"
    experiments.write_text(yaml.safe_dump({"forced": "open", "experiments": [EXPERIMENT]}))
    return {
        "model_server": server.address,
        "experiments": experiments,
        "database_url": f"sqlite:///{folder}/outcomes.db",
        "models": "residual",
        "default_model": "residual",
        "default_label": "stable",
        "admin_key": ADMIN_KEY,
        "breaker_failures": 1_000_000,
        # A face for both shadows fits; of two faces, those for the second shadow do not.
        "shadow_queue": 2,
    }


def photo() -> bytes:
    """A grey square."""
    file = BytesIO()
    Image.new("L", (48, 48), 100).save(file, "PNG")
    return file.getvalue()


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    """Without the rows' titles."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries(rate_interval: str = "5m") -> list[tuple[str, str]]:
    """Title and PromQL of each of the dashboard's queries, with its variables filled in."""
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", rate_interval).replace("$namespace", ".*"))
        for panel in panels()
        for target in panel["targets"]
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


_NOT_METRICS = {"and", "or", "unless", "on", "by", "bool", "offset"}


def metric_names(expression: str) -> set[str]:
    """Names of series in PromQL: words that are no function, keyword, label, string or number."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w|:|\s*\()", bare)
    return set(words) - _NOT_METRICS


@asynccontextmanager
async def model_server() -> AsyncIterator[FakeModelServer]:
    """Versions 1 to 5, of which 4 and 5 fail, and the label stable, which is version 1."""

    async def predict(request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        version = request.model_spec.version.value or 1
        if version > 3:
            await context.abort(grpc.StatusCode.INTERNAL, "told to fail")
        scores = np.full((request.inputs["faces"].tensor_shape.dim[0].size, 7), 0.05, np.float32)
        scores[:, version] = 0.7
        return answer(request, CLASSES, scores, version)

    async with serve(predict) as server:
        server.states = dict.fromkeys(range(1, 6), pb.ModelVersionStatus.AVAILABLE)
        yield server


async def traffic(client: httpx.AsyncClient, photo: bytes) -> None:
    """One of each kind of request."""

    async def predict(status: int, query: str = "", **headers: str) -> dict[str, Any]:
        response = await client.post(f"/predict?crop=none{query}", files={"file": photo}, headers=headers)
        assert response.status_code == status, response.text
        answered: dict[str, Any] = response.json()
        return answered

    assert (await client.get("/readyz")).status_code == 200
    await predict(200, "&label=stable")
    await predict(502, "&version=4")
    for variant, correct in (("old", True), ("new", False), ("failing", True)):
        answered = await predict(200, **{"X-Variant": variant})
        given = {"prediction_id": answered["id"], "face": 0, "correct": correct}
        feedback = await client.post("/feedback", json=given, headers={"X-Admin-Key": ADMIN_KEY})
        assert feedback.status_code == 200, feedback.text
    files = [("files", photo), ("files", photo)]
    assert (await client.post("/predict/batch?crop=none", files=files)).status_code == 200
    assert (await client.post("/predict", files={"file": b"not an image"})).status_code == 415


# tensorflow_model_server's page, as its own sources have it. Names: every character but letters, digits and _ becomes a
# colon (tensorflow_serving/util/prometheus_exporter.cc). request_count, request_latency and runtime_latency with their
# labels: servables/tensorflow/util.cc there; queuing_latency: batching/batching_session.cc there.
TENSORFLOW_SERVING = """\
# TYPE :tensorflow:serving:batching_session:queuing_latency histogram
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="emotion",le="100"} %(n)d
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="emotion",le="120"} %(n)d
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="emotion",le="+Inf"} %(n)d
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name="emotion"} %(n)d
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="emotion"} %(n)d
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="random",status="OK"} %(n)d
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="random",API="Predict",entrypoint="GRPC",le="10"} 0
:tensorflow:serving:request_latency_bucket{model_name="random",API="Predict",entrypoint="GRPC",le="18"} %(n)d
:tensorflow:serving:request_latency_bucket{model_name="random",API="Predict",entrypoint="GRPC",le="+Inf"} %(n)d
:tensorflow:serving:request_latency_sum{model_name="random",API="Predict",entrypoint="GRPC"} %(n)d
:tensorflow:serving:request_latency_count{model_name="random",API="Predict",entrypoint="GRPC"} %(n)d
# TYPE :tensorflow:serving:runtime_latency histogram
:tensorflow:serving:runtime_latency_bucket{model_name="random",API="Predict",runtime="TF1",le="+Inf"} %(n)d
:tensorflow:serving:runtime_latency_sum{model_name="random",API="Predict",runtime="TF1"} %(n)d
:tensorflow:serving:runtime_latency_count{model_name="random",API="Predict",runtime="TF1"} %(n)d
"""


def tensorflow_serving_metrics() -> AbstractContextManager[int]:
    """The port of a server that has nothing but this page, on which everything grows with each scrape."""
    scrapes = itertools.count(1)
    return serve_page("/monitoring/prometheus/metrics", lambda: TENSORFLOW_SERVING % {"n": 10 * next(scrapes)})
