"""Tiny real SavedModels, a real server on a free port, and a client made of the official stubs."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.flags import Options
from serving.server import ModelServer

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
DEADLINE = 30.0


class Faces(tf.Module):
    """A linear classifier under the project's model contract, and two signatures that misbehave on demand."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        kernel = np.random.default_rng(seed).normal(size=(48 * 48, 7)).astype(np.float32)
        self.kernel = tf.Variable(kernel / 10)

    @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 1], tf.float32, name="faces")])
    def classify(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.nn.softmax(tf.reshape(faces, [-1, 48 * 48]) @ self.kernel)
        return {"scores": scores, "classes": tf.tile([CLASSES], [tf.shape(faces)[0], 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="values")])
    def checked(self, values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"values": tf.debugging.check_numerics(values, "no number")}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float64, name="seconds")])
    def slow(self, seconds: tf.Tensor) -> dict[str, tf.Tensor]:
        end = tf.timestamp() + seconds
        rounds = tf.while_loop(lambda n: tf.timestamp() < end, lambda n: [n + 1], [tf.constant(0)])
        return {"rounds": rounds[0]}

    def save(self, path: Path) -> None:
        signatures = {"serving_default": self.classify, "checked": self.checked, "slow": self.slow}
        tf.saved_model.save(self, str(path), signatures=signatures)


@dataclass
class Repository:
    """Directory of models: `add` puts one of two prepared SavedModels under a version number at once."""

    root: Path
    prepared: dict[str, Path]

    def path(self, version: int | str, model: str = "faces") -> Path:
        return self.root / model / str(version)

    def add(self, version: int, model: str = "faces", *, which: str = "first") -> Path:
        target = self.path(version, model)
        hidden = target.with_name(f".{version}.partial")
        shutil.copytree(self.prepared[which], hidden)
        return hidden.rename(target)

    def scores(self, faces: np.ndarray, which: str = "first") -> np.ndarray:
        """What loading the SavedModel directly gives."""
        loaded = tf.saved_model.load(str(self.prepared[which]))
        return loaded.signatures["serving_default"](faces=tf.constant(faces))["scores"].numpy()

    def config(self, policy: str = "", *, labels: dict[str, int] | None = None, model: str = "faces") -> str:
        """One entry of a model_config_list."""
        pairs = (f'version_labels {{ key: "{k}" value: {v} }}' for k, v in (labels or {}).items())
        policy = f"model_version_policy {{ {policy} }}" if policy else ""
        return (
            f'config {{ name: "{model}" base_path: "{self.root / model}" model_platform: "tensorflow" '
            f"{policy} {' '.join(pairs)} }}"
        )


@dataclass
class Client:
    """The official stubs, with a deadline on every call."""

    channel: grpc.Channel
    model: str = "faces"
    prediction: Any = field(init=False)
    models: Any = field(init=False)

    def __post_init__(self) -> None:
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def request(
        self,
        inputs: dict[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: tuple[str, ...] = (),
        model: str | None = None,
    ) -> Any:
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = self.model if model is None else model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        for name, value in inputs.items():
            proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(proto)
        return request

    def predict(self, inputs: dict[str, Any], **choice: Any) -> Any:
        return self.prediction.Predict(self.request(inputs, **choice), timeout=DEADLINE)

    def begin_slow(self, seconds: float) -> Any:
        """A future of a call that keeps the server busy for so long."""
        request = self.request({"seconds": np.float64(seconds)}, signature="slow")
        return self.prediction.Predict.future(request, timeout=DEADLINE)

    def answering_version(self, **choice: Any) -> int:
        return self.predict({"values": np.ones(1, np.float32)}, signature="checked", **choice).model_spec.version.value

    def status(self, model: str | None = None, version: int | None = None, label: str | None = None) -> Any:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.model if model is None else model
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        return self.models.GetModelStatus(request, timeout=DEADLINE).model_version_status

    def states(self, model: str | None = None) -> dict[int, int]:
        return {entry.version: entry.state for entry in self.status(model)}

    def metadata(self, fields: tuple[str, ...] = ("signature_def",), **choice: Any) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = self.model
        if "label" in choice:
            request.model_spec.version_label = choice["label"]
        return self.prediction.GetModelMetadata(request, timeout=DEADLINE)

    def reload(self, *entries: str) -> Any:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(f"model_config_list {{ {' '.join(entries)} }}", request.config)
        return self.models.HandleReloadConfigRequest(request, timeout=DEADLINE)


@dataclass
class Running:
    """A server in this process and a client of it."""

    server: ModelServer
    client: Client


def wait_for(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.02)


def write_warmup(version: Path, *requests: Any) -> None:
    extra = version / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


@contextmanager
def rpc_error(code: grpc.StatusCode, match: str | None = None) -> Iterator[None]:
    """The block makes a call that ends with `code`, and with details that `match` is found in."""
    with pytest.raises(grpc.RpcError, match=match) as error:
        yield
    assert error.value.code() is code


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("prepared")
    paths = {"first": root / "first", "second": root / "second"}
    for seed, path in enumerate(paths.values()):
        Faces(seed).save(path)
    return paths


@pytest.fixture
def repository(tmp_path: Path, prepared: dict[str, Path]) -> Repository:
    root = tmp_path / "models"
    (root / "faces").mkdir(parents=True)
    return Repository(root, prepared)


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (3, 48, 48, 1)).astype(np.float32)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """serve(entries..., option=value) starts a server; all are stopped at the end of the test."""
    started: list[Running] = []

    def start(*entries: str, **options: Any) -> Running:
        file = tmp_path / "models.config"
        file.write_text(f"model_config_list {{ {' '.join(entries)} }}")
        defaults: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "file_system_poll_wait_seconds": 0.05}
        server = ModelServer(Options(model_config_file=file, **(defaults | options)))
        server.start()
        running = Running(server, Client(grpc.insecure_channel(f"127.0.0.1:{server.port}")))
        started.append(running)
        return running

    yield start
    for running in started:
        running.client.channel.close()
        running.server.stop(grace=10)
