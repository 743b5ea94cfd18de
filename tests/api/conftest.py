"""A real model server process on tiny real SavedModels, and the gateway in front of it."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.settings import Settings
from faces.detect.choice import Detectors
from tests.api.gateway_process import GatewayProcess
from tests.api.in_process import in_process
from tests.api.model_server_process import ModelServer

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]

# Runs in a process of its own: TensorFlow has no business in the gateway's. The version is the index of the
# class that the model favours, so that a test can tell which version answered.
SAVE_MODELS = """
import sys, tensorflow as tf
classes = sys.argv[2].split(",")
class Tiny(tf.Module):
    def __init__(self, favourite):
        self.favourite = favourite
    @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 1], tf.float32, name="faces")])
    def serve(self, faces):
        brightness = tf.reduce_mean(faces, [1, 2])
        logits = brightness * tf.range(7.0) / 7 + tf.one_hot([self.favourite], 7) * 3
        return {"scores": tf.nn.softmax(logits), "classes": tf.tile([classes], [tf.shape(faces)[0], 1])}
for version in (1, 2):
    module = Tiny(version)
    tf.saved_model.save(module, f"{sys.argv[1]}/{version}", signatures={"serving_default": module.serve})
"""

MODELS_CONFIG = """
model_config_list {{
  config {{
    name: "residual" base_path: "{path}" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
}}
"""


@pytest.fixture(scope="session")
def classes() -> list[str]:
    return CLASSES


@pytest.fixture(scope="session")
def repository(make_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """model_repository/residual with versions 1 and 2; version 3 is broken."""

    def save(folder: Path) -> None:
        root = folder / "residual"
        command = [sys.executable, "-c", SAVE_MODELS, str(root), ",".join(CLASSES)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
        (root / "3").mkdir()
        (root / "3" / "saved_model.pb").write_bytes(b"not a SavedModel")

    return make_once("repository", save) / "residual"


@pytest.fixture(scope="session")
def model_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """Serves versions 1 (label stable) and 2 (label canary); version 3 does not load."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(MODELS_CONFIG.format(path=repository))
    server = ModelServer(f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true")
    yield server
    server.stop()


@pytest.fixture
def run_model_server() -> Iterator[Callable[..., ModelServer]]:
    """Starts a model server of the test's own."""
    servers: list[ModelServer] = []

    def run(*flags: str) -> ModelServer:
        servers.append(ModelServer(*flags))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


RunGateway = Callable[..., GatewayProcess]


@pytest.fixture
def run_gateway(tmp_path: Path) -> Iterator[RunGateway]:
    """Starts a gateway process of the test's own, for the newest `residual`."""
    gateways: list[GatewayProcess] = []

    def run(**settings: Any) -> GatewayProcess:
        gateways.append(GatewayProcess(tmp_path / f"gateway-{len(gateways)}", **settings))
        return gateways[-1]

    yield run
    for gateway in gateways:
        gateway.close()


OpenGateway = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def open_gateway(tmp_path: Path) -> OpenGateway:
    """Opens a gateway for the newest `residual` with these settings, and a client that calls it in this process."""

    @asynccontextmanager
    async def run(detectors: Detectors | None = None, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
        defaults = {
            "models": ["residual"],
            "default_model": "residual",
            "default_label": None,
            "database_url": f"sqlite:///{tmp_path}/outcomes.db",
            # A machine that has other work refuses nothing, unless a test says so.
            "queue_s": 30,
        }
        app = create_app(Settings(**{**defaults, **settings}), detectors)
        async with in_process(app) as (client, _):
            yield client

    return run


@pytest.fixture
async def client(open_gateway: OpenGateway, model_server: ModelServer) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway on the session's model server, all settings but its patience at their defaults."""
    async with open_gateway(model_server=model_server.address) as opened:
        yield opened
