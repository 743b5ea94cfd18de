"""A thin client of TensorFlow Serving's gRPC services, for changing what a server serves.

Importing it imports TensorFlow, because tensorflow_serving.apis does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.rollout.errors import RolloutError

RPC_TIMEOUT_S = 10.0
AVAILABLE = "AVAILABLE"
SIDE = 48


class ServerError(RolloutError):
    """A model server refused a call or did not answer; the message begins with its address.

    `code` is the call's status.
    """

    def __init__(self, address: str, reason: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(f"{address}: {reason}")
        self.code = code


@dataclass(frozen=True)
class VersionState:
    """State of one version as GetModelStatus names it (START, LOADING, AVAILABLE, UNLOADING, END).

    `error` is why it failed to load, empty if it did not.
    """

    state: str
    error: str

    def __str__(self) -> str:
        return f"{self.state}: {self.error}" if self.error else self.state


class ModelServer:
    """One server at `address` (host:port); a context manager. Every method raises ServerError."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def states(self, name: str) -> dict[int, VersionState]:
        """Every version of a model that the server has seen since it started, by number."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        answer = self._call(self._models.GetModelStatus, request, f"the status of {name}")
        name_of = get_model_status_pb2.ModelVersionStatus.State.Name
        return {
            entry.version: VersionState(name_of(entry.state), _reason(entry.status))
            for entry in answer.model_version_status
        }

    def reload(self, config: Any, timeout_s: float) -> None:
        """Replace the server's list of models by `config`, a ModelServerConfig."""
        request = model_management_pb2.ReloadConfigRequest(config=config)
        answer = self._call(self._models.HandleReloadConfigRequest, request, "the reload", timeout_s)
        if reason := _reason(answer.status):
            raise ServerError(self.address, f"the reload failed: {reason}")

    def answering_version(self, name: str, *, version: int | None = None, label: str | None = None) -> int:
        """The version that answers a prediction on one blank face, asked for by number or by label."""
        request = predict_pb2.PredictRequest(output_filter=["scores"])
        request.model_spec.name = name
        if label is not None:
            request.model_spec.version_label = label
        elif version is not None:
            request.model_spec.version.value = version
        faces = request.inputs["faces"]
        faces.dtype = types_pb2.DT_FLOAT
        for side in (1, SIDE, SIDE, 1):
            faces.tensor_shape.dim.add(size=side)
        faces.tensor_content = bytes(4 * SIDE * SIDE)
        choice = f"version {version}" if label is None else f"label {label!r}"
        answer = self._call(self._prediction.Predict, request, f"a prediction by {name}, {choice},")
        return int(answer.model_spec.version.value)

    def _call(self, method: Callable[..., Any], request: Any, what: str, timeout_s: float = RPC_TIMEOUT_S) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            raise ServerError(self.address, f"{what} failed with {code.name}: {details}", code) from error


def _reason(status: Any) -> str:
    """Of a StatusProto that is not OK, why; else empty."""
    return str(status.error_message or f"error code {status.error_code}") if status.error_code else ""
