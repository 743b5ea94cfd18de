"""The gRPC services of the development model server, over tensorflow-serving-api's messages."""

from __future__ import annotations

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

from serving import config
from serving.errors import ServingError, as_serving_error, invalid_argument
from serving.manager import ModelManager, unavailable
from serving.savedmodel import signature_name

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

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
            if failure is not error:
                log.exception("%s failed", handler.__name__)
        return context.abort(failure.code, failure.details)

    return call


def _model_spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return request.model_spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata; Classify, Regress and MultiInference stay UNIMPLEMENTED."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_rpc
    def Predict(self, request: Any) -> Any:  # noqa: N802
        spec = _model_spec(request)
        with self._manager.acquire(spec.name, **_version_choice(spec)) as (version, model):
            outputs = model.predict(request)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = signature_name(request)
        for name, tensor in outputs.items():
            response.outputs[name].CopyFrom(tensor)
        return response

    @_rpc
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        spec = _model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {name} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._manager.acquire(spec.name, **_version_choice(spec)) as (version, model):
            for name, definition in model.signature_defs.items():
                signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_rpc
    def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        # TensorFlow Serving resolves no label here: a request with one gets every version.
        spec = _model_spec(request)
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for found in self._manager.statuses(spec.name, version):
            entry = response.model_version_status.add(version=found.version, state=int(found.state))
            if found.error is None:
                entry.status.SetInParent()
            else:
                entry.status.error_code = found.error.number
                entry.status.error_message = str(found.error)
        return response

    @_rpc
    def HandleReloadConfigRequest(self, request: Any) -> Any:  # noqa: N802
        try:
            reasons = self._manager.reload(config.from_proto(request.config))
            if reasons:
                raise unavailable(reasons)
        except ServingError as error:
            log.error("reload failed: %s: %s", error.code.name, error)
            raise
        log.info("reloaded: %s", ", ".join(m.name for m in request.config.model_config_list.config) or "no models")
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _version_choice(spec: Any) -> dict[str, Any]:
    match spec.WhichOneof("version_choice"):
        case "version":
            return {"version": spec.version.value}
        case "version_label":
            return {"label": spec.version_label}
        case _:
            return {}
