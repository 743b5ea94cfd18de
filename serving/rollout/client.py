"""One model server, over TensorFlow Serving's gRPC services: what it has, what it answers, what it shall have."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from serving.errors import ServingError
from wire import serving_pb2 as pb
from wire.address import check_target
from wire.target import Target

RPC_TIMEOUT_S = 10.0
SIDE = 48  # as in faces/contract.py: what runs models imports nothing of photos

State = pb.ModelVersionStatus.State
Answer = TypeVar("Answer", bound=Message)
States = Mapping[int, pb.ModelVersionStatus]  # versions of a model, by number


@dataclass(frozen=True)
class ModelServer:
    """A model server that is connected to.

    Raises:
        ServingError: by every method; the message begins with the server's name.
    """

    name: str
    channel: grpc.Channel

    def states(self, model: str) -> States:
        """Every version of a model that the server has seen since it started."""
        request = pb.GetModelStatusRequest(model_spec=Target(model).spec())
        answer = self._call("ModelService/GetModelStatus", request, pb.GetModelStatusResponse, f"the status of {model}")
        return {entry.version: entry for entry in answer.model_version_status}

    def reload(self, config: pb.ModelServerConfig, timeout_s: float) -> None:
        """Replace the server's list of models."""
        method, request = "ModelService/HandleReloadConfigRequest", pb.ReloadConfigRequest(config=config)
        answer = self._call(method, request, pb.ReloadConfigResponse, "the reload", timeout_s)
        if reason := failure(answer.status):
            raise ServingError(f"{self.name}: the reload failed: {reason}")

    def answering_version(self, target: Target) -> int:
        """The version that answers a prediction on one blank face."""
        shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=side) for side in (1, SIDE, SIDE, 1)])
        face = pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, tensor_content=bytes(4 * SIDE * SIDE))
        request = pb.PredictRequest(model_spec=target.spec(), inputs={"faces": face}, output_filter=["scores"])
        choice = f"version {target.version}" if target.label is None else f"label {target.label!r}"
        what = f"a prediction by {target.model}, {choice},"
        return self._call("PredictionService/Predict", request, pb.PredictResponse, what).model_spec.version.value

    def _call(
        self, method: str, request: Message, answer: type[Answer], what: str, timeout_s: float = RPC_TIMEOUT_S
    ) -> Answer:
        # Stubs that grpc generates would put our package's name into the path.
        call = self.channel.unary_unary(
            f"/tensorflow.serving.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return call(request, timeout=timeout_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            raise ServingError(f"{self.name}: {what} failed with {code.name}: {details}", code) from error


@contextmanager
def connect(address: str, name: str = "") -> Iterator[ModelServer]:
    """The server at `address` (host:port), which is its name unless it is given another. No proxy is in between."""
    try:
        check_target(address)
    except ValueError as error:
        raise ServingError(str(error)) from error
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        yield ModelServer(name or address, channel)


def available(states: States) -> set[int]:
    """The versions that are AVAILABLE."""
    return {version for version, found in states.items() if found.state == State.AVAILABLE}


def describe(states: States) -> str:
    """Each version with its state and, if it failed to load, why: `1 AVAILABLE, 2 END: no file`."""
    return ", ".join(
        ": ".join(filter(None, (f"{version} {State.Name(found.state)}", failure(found.status))))
        for version, found in sorted(states.items())
    )


def failure(status: pb.StatusProto) -> str:
    """Of a status that is not OK, why; else empty."""
    return (status.error_message or f"error code {status.error_code}") if status.error_code else ""
