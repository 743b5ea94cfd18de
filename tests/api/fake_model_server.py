"""A model server whose answers the test decides: wrong, late or none."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np

from wire import serving_pb2 as pb


def scores_of(request: pb.PredictRequest) -> np.ndarray:
    faces = request.inputs["faces"].tensor_shape.dim[0].size
    return np.full((faces, 7), 1 / 7, np.float32)


def answer(
    request: pb.PredictRequest, classes: list[str], scores: np.ndarray | None = None, version: int = 1
) -> pb.PredictResponse:
    """What TensorFlow Serving answers, `output_filter` respected."""
    scores = scores_of(request) if scores is None else scores
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in scores.shape])
    outputs = {
        "scores": pb.TensorProto(dtype=pb.DT_FLOAT, tensor_shape=shape, float_val=scores.ravel().tolist()),
        "classes": pb.TensorProto(
            dtype=pb.DT_STRING,
            tensor_shape=shape,
            string_val=[name.encode() for name in classes] * scores.shape[0],
        ),
    }
    response = pb.PredictResponse(outputs={name: outputs[name] for name in request.output_filter or outputs})
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    return response


Predict = Callable[[pb.PredictRequest, grpc.aio.ServicerContext], Awaitable[pb.PredictResponse]]


@dataclass
class FakeModelServer:
    predict: Predict
    states: dict[int, int] = field(default_factory=lambda: {1: pb.ModelVersionStatus.AVAILABLE})
    requests: list[pb.PredictRequest] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    all_metadata: list[dict[str, str]] = field(default_factory=list)
    # None: as asked, or 1; 0: none is told.
    version_of_metadata: int | None = None
    address: str = ""

    async def on_predict(self, request: pb.PredictRequest, context: grpc.aio.ServicerContext) -> pb.PredictResponse:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.all_metadata.append(self.metadata)
        return await self.predict(request, context)

    async def on_metadata(
        self, request: pb.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetModelMetadataResponse:
        response = pb.GetModelMetadataResponse(model_spec=request.model_spec)
        version = self.version_of_metadata
        if version == 0:
            response.model_spec.ClearField("version")
        else:
            # As TensorFlow Serving does, whatever chose the version.
            response.model_spec.version.value = version or request.model_spec.version.value or 1
        return response

    async def on_status(
        self, request: pb.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetModelStatusResponse:
        statuses = [pb.ModelVersionStatus(version=v, state=state) for v, state in self.states.items()]
        return pb.GetModelStatusResponse(model_version_status=statuses)


@asynccontextmanager
async def serve(predict: Predict) -> AsyncIterator[FakeModelServer]:
    """A real gRPC server on a free port."""
    fake = FakeModelServer(predict)
    server = grpc.aio.server()
    for service, name, method, request_type in (
        ("PredictionService", "Predict", fake.on_predict, pb.PredictRequest),
        ("PredictionService", "GetModelMetadata", fake.on_metadata, pb.GetModelMetadataRequest),
        ("ModelService", "GetModelStatus", fake.on_status, pb.GetModelStatusRequest),
    ):
        handler = grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=request_type.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        generic = grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", {name: handler})
        server.add_generic_rpc_handlers((generic,))
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield fake
    await server.stop(None)
