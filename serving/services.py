"""The gRPC services of the development model server, over tensorflow-serving-api's messages."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.errors import ServingError, as_serving_error, invalid_argument
from serving.manager import ModelManager
from serving.models_config import servable_models
from serving.savedmodel import signature_name
from wire import serving_pb2 as pb

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
# gRPC sends the message in a trailer, whose default limit is 8 KiB; TensorFlow Serving cuts at the same length.
MESSAGE_LIMIT = 1024

_SIGNATURE_DEF = "signature_def"


def _rpc(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Answer ServingError with its status code and anything unforeseen with INTERNAL."""

    @functools.wraps(handler)
    def call(service: Any, request: Any, context: grpc.ServicerContext) -> Any:
        if not context.is_active():
            # Cancelled or past its deadline while it waited for a thread: nobody would read the answer.
            return context.abort(grpc.StatusCode.CANCELLED, "the call ended before it was run")
        try:
            return handler(service, request)
        except Exception as error:
            failure = as_serving_error(error)
            if failure.code is grpc.StatusCode.INTERNAL:
                log.exception("%s failed", handler.__name__)
        cut = "...TRUNCATED" if len(str(failure)) > MESSAGE_LIMIT else ""
        return context.abort(failure.code, str(failure)[:MESSAGE_LIMIT] + cut)

    return call


def _model_spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return request.model_spec


class Services(
    prediction_service_pb2_grpc.PredictionServiceServicer,  # type: ignore[misc]
    model_service_pb2_grpc.ModelServiceServicer,  # type: ignore[misc]
):
    """PredictionService and ModelService. Classify, Regress and MultiInference stay UNIMPLEMENTED."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_rpc
    def Predict(self, request: Any) -> Any:  # noqa: N802
        spec = _model_spec(request)
        with self._manager.acquire(spec) as (version, model):
            outputs = model.predict(request)
        answered = {"name": spec.name, "version": {"value": version}, "signature_name": signature_name(request)}
        return predict_pb2.PredictResponse(model_spec=answered, outputs=outputs)

    @_rpc
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        spec = _model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        if others := set(request.metadata_field) - {_SIGNATURE_DEF}:
            raise invalid_argument(f"Metadata field {min(others)} is not supported")
        with self._manager.acquire(spec) as (version, model):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
        answered = {"name": spec.name, "version": {"value": version}}
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=answered)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    @_rpc
    def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        # TensorFlow Serving resolves no label here: a request with one gets every version.
        spec = _model_spec(request)
        statuses = self._manager.statuses(spec.name, spec.version.value if spec.HasField("version") else None)
        ours = pb.GetModelStatusResponse(model_version_status=statuses)
        return get_model_status_pb2.GetModelStatusResponse.FromString(ours.SerializeToString())

    @_rpc
    def HandleReloadConfigRequest(self, request: Any) -> Any:  # noqa: N802
        config = pb.ModelServerConfig.FromString(request.config.SerializeToString())
        try:
            if reason := self._manager.reload(servable_models(config)):
                raise ServingError(reason)
        except ServingError as error:
            log.error("reload failed: %s: %s", error.code.name, error)
            raise
        log.info("reloaded: %s", ", ".join(model.name for model in config.model_config_list.config) or "no models")
        return model_management_pb2.ReloadConfigResponse(status={})
