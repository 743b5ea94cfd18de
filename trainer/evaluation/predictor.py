"""Scores from a model as it is deployed: a SavedModel on disk, or a model server at an address."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from faces.contract import CLASSES, SIDE
from trainer.errors import TrainerError

SIGNATURE = "serving_default"
DEADLINE_SECONDS = 30.0

_ADDRESS = re.compile(
    r"(?P<address>(?:\[[^\]]+\]|[^/:@\[\]]+):\d+)/(?P<model>[^/@]+)(?:/(?P<version>\d{1,18})|@(?P<label>[^/@]+))?"
)


class Predictor(ABC):
    """A model that answers with scores in the order of `faces.contract.CLASSES`."""

    # Faces that it is given at once.
    batch: int

    def scores(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """Faces float32 [N, 48, 48, 1] in [-1, 1] -> scores float32 [N, 7], rows sum to 1.

        Raises:
            TrainerError: no answer, or one that breaks the model contract.
        """
        parts = [self._predict(faces[start : start + self.batch]) for start in range(0, len(faces), self.batch)]
        return np.concatenate([np.zeros((0, len(CLASSES)), np.float32), *parts])

    def close(self) -> None:  # noqa: B027 - one that runs here holds no connections
        """Let go of connections; the predictor is of no use after it."""

    @abstractmethod
    def _predict(self, faces: NDArray[np.float32]) -> NDArray[np.float32]: ...


class SavedModelPredictor(Predictor):
    """A SavedModel's `serving_default`, run by TensorFlow in this process.

    Raises:
        TrainerError: no SavedModel there, or not one of the model contract.
    """

    batch = 256

    def __init__(self, directory: Path) -> None:
        self.source = str(directory)
        if not (directory / "saved_model.pb").is_file():
            raise TrainerError(f"{directory}: has no saved_model.pb; name a version's directory, such as NAME/1")
        try:
            # Kept, because a signature does not keep its variables alive.
            self._loaded = tf.saved_model.load(str(directory))
        except (OSError, ValueError, RuntimeError, KeyError, tf.errors.OpError) as error:
            raise TrainerError(f"{directory}: cannot be loaded: {_line(error)}") from error
        signatures = self._loaded.signatures
        if SIGNATURE not in signatures:
            known = ", ".join(sorted(signatures)) or "none"
            raise TrainerError(f"{directory}: no signature {SIGNATURE}; it has: {known}")
        # A concrete function.
        self.signature = signatures[SIGNATURE]
        inputs = self.signature.structured_input_signature[1]
        expected = tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32)
        if set(inputs) != {"faces"} or not expected.is_compatible_with(inputs["faces"]):
            found = ", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in inputs.items())
            raise TrainerError(f"{directory}: {SIGNATURE} takes {found}, not faces float32 [N, {SIDE}, {SIDE}, 1]")

    def _predict(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            answer = self.signature(faces=tf.constant(faces))
        except (tf.errors.OpError, ValueError) as error:
            raise TrainerError(f"{self.source}: {SIGNATURE} failed: {_line(error)}") from error
        return _contract(self.source, len(faces), {name: value.numpy() for name, value in answer.items()})


class ServerPredictor(Predictor):
    """A model behind TensorFlow Serving's PredictionService, called over plaintext gRPC.

    A call is not repeated, and ends after `deadline` seconds. Another version than answered before is an error: scores
    of two models are not one model's.

    Args:
        source: "host:port/model", "host:port/model/version" or "host:port/model@label".

    Raises:
        TrainerError: `source` is none of these.
    """

    # A server that batches refuses requests larger than its max_batch_size.
    batch = 64

    def __init__(self, source: str, *, deadline: float = DEADLINE_SECONDS) -> None:
        parts = _ADDRESS.fullmatch(source)
        if parts is None:
            raise TrainerError(f"{source}: neither a directory nor host:port/model, optionally with /version or @label")
        self.source = source
        self.version: int | None = None
        self._deadline = deadline
        self._request = predict_pb2.PredictRequest()
        self._request.model_spec.name = parts["model"]
        self._request.model_spec.signature_name = SIGNATURE
        if parts["version"] is not None:
            self._request.model_spec.version.value = int(parts["version"])
        elif parts["label"] is not None:
            self._request.model_spec.version_label = parts["label"]
        self._channel = grpc.insecure_channel(parts["address"], [("grpc.enable_http_proxy", 0)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def _predict(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        self._request.inputs["faces"].CopyFrom(tf.make_tensor_proto(faces))
        try:
            response = self._stub.Predict(self._request, timeout=self._deadline)
        except grpc.RpcError as error:
            raise TrainerError(f"{self.source}: {SIGNATURE}: {error.code().name}: {_line(error.details())}") from error
        version = response.model_spec.version.value
        if self.version not in (None, version):
            raise TrainerError(f"{self.source}: version {version} answered after version {self.version} had")
        self.version = version
        try:
            outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        except (TypeError, ValueError) as error:
            raise TrainerError(f"{self.source}: {SIGNATURE}: an answer cannot be read: {_line(error)}") from error
        return _contract(self.source, len(faces), outputs)


def open_predictor(source: str | Path) -> SavedModelPredictor | ServerPredictor:
    """Open a SavedModel's directory, or a model server's "host:port/model", ".../version" or "...@label".

    Raises:
        TrainerError: it is neither, or the SavedModel is not one of the model contract.
    """
    if Path(source).is_dir():
        return SavedModelPredictor(Path(source))
    return ServerPredictor(str(source))


def _contract(source: str, count: int, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The answer's scores in the order of CLASSES, after checking that the model contract holds."""
    if missing := [name for name in ("scores", "classes") if name not in outputs]:
        raise TrainerError(f"{source}: {SIGNATURE} answers without {' and '.join(missing)}")
    scores, classes = outputs["scores"], outputs["classes"]
    shape = (count, len(CLASSES))
    if scores.dtype != np.float32 or scores.shape != shape or classes.shape != shape:
        raise TrainerError(
            f"{source}: {SIGNATURE} answers scores {scores.dtype} {list(scores.shape)} and classes "
            f"{list(classes.shape)} where float32 and {list(shape)} are due"
        )
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in classes[0]]
    if sorted(names) != sorted(CLASSES) or (classes != classes[0]).any():
        raise TrainerError(f"{source}: its classes are {', '.join(names)}, not {', '.join(CLASSES)}")
    # Written so that NaN fails too.
    if not (np.abs(scores.sum(axis=1) - 1) < 1e-3).all() or scores.min() < 0:
        raise TrainerError(f"{source}: {SIGNATURE} answers scores that are no probabilities (rows that sum to 1)")
    return scores[:, [names.index(name) for name in CLASSES]]


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]
