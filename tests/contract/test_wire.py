"""Our messages against TensorFlow Serving's official ones: the same bytes, read either way."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from api.model.tensors import from_array, to_classes, to_scores
from wire import serving_pb2 as pb
from wire.target import Target

names = st.text(max_size=20)
versions = st.integers(-(2**63), 2**63 - 1)
targets = st.one_of(
    st.builds(Target, names),
    st.builds(Target, names, version=versions),
    st.builds(Target, names, label=names),
)


def same_spec(ours: pb.ModelSpec, official: object) -> bool:
    choice = official.WhichOneof("version_choice")
    return (
        ours.name == official.name
        and ours.signature_name == official.signature_name
        and ours.WhichOneof("version_choice") == choice
        and ours.version.value == official.version.value
        and ours.version_label == official.version_label
    )


@settings(deadline=None, max_examples=50)
@given(targets, st.integers(0, 3), st.lists(st.sampled_from(["scores", "classes"])), st.integers(0, 2**32 - 1))
def test_predict_request_read_by_the_official_message(
    target: Target, faces: int, outputs: list[str], seed: int
) -> None:
    tensor = np.random.default_rng(seed).uniform(-1, 1, (faces, 48, 48, 1)).astype(np.float32)
    ours = pb.PredictRequest(model_spec=target.spec(), inputs={"faces": from_array(tensor)}, output_filter=outputs)
    official = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert same_spec(ours.model_spec, official.model_spec)
    assert list(official.output_filter) == outputs
    np.testing.assert_array_equal(tf.make_ndarray(official.inputs["faces"]), tensor)
    # Nothing was lost on the way: the official message writes what ours can read back.
    assert pb.PredictRequest.FromString(official.SerializeToString()) == ours


@settings(deadline=None, max_examples=50)
@given(versions, st.integers(1, 4), st.integers(1, 8), st.booleans(), st.integers(0, 2**32 - 1))
def test_predict_response_of_the_official_message(
    version: int, faces: int, width: int, as_field: bool, seed: int
) -> None:
    scores = np.random.default_rng(seed).dirichlet(np.ones(width), faces).astype(np.float32)
    classes = [f"class {index}" for index in range(width)]
    official = predict_pb2.PredictResponse()
    official.model_spec.name = "residual"
    official.model_spec.version.value = version
    official.model_spec.signature_name = "serving_default"
    official.outputs["classes"].CopyFrom(tf.make_tensor_proto([classes] * faces, shape=(faces, width)))
    if as_field:
        # TensorFlow Serving's own way.
        official.outputs["scores"].dtype = types_pb2.DT_FLOAT
        official.outputs["scores"].tensor_shape.CopyFrom(tf.TensorShape(scores.shape).as_proto())
        official.outputs["scores"].float_val.extend(scores.ravel().tolist())
    else:
        official.outputs["scores"].dtype = types_pb2.DT_FLOAT
        official.outputs["scores"].tensor_shape.CopyFrom(tf.TensorShape(scores.shape).as_proto())
        official.outputs["scores"].tensor_content = scores.tobytes()
    ours = pb.PredictResponse.FromString(official.SerializeToString())
    assert same_spec(ours.model_spec, official.model_spec)
    np.testing.assert_array_equal(to_scores(ours.outputs["scores"], faces), scores)
    assert to_classes(ours.outputs["classes"]) == tuple(classes)
    assert predict_pb2.PredictResponse.FromString(ours.SerializeToString()) == official


@settings(deadline=None, max_examples=30)
@given(targets)
def test_metadata_and_status_requests(target: Target) -> None:
    metadata = pb.GetModelMetadataRequest(model_spec=target.spec(), metadata_field=["signature_def"])
    official = get_model_metadata_pb2.GetModelMetadataRequest.FromString(metadata.SerializeToString())
    assert same_spec(metadata.model_spec, official.model_spec)
    assert list(official.metadata_field) == ["signature_def"]
    status = pb.GetModelStatusRequest(model_spec=target.spec())
    official = get_model_status_pb2.GetModelStatusRequest.FromString(status.SerializeToString())
    assert same_spec(status.model_spec, official.model_spec)


def test_metadata_response_with_its_payload_skipped() -> None:
    official = get_model_metadata_pb2.GetModelMetadataResponse()
    official.model_spec.name = "residual"
    official.model_spec.version.value = 7
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["serving_default"].inputs["faces"].name = "faces:0"
    official.metadata["signature_def"].Pack(signatures)
    ours = pb.GetModelMetadataResponse.FromString(official.SerializeToString())
    assert same_spec(ours.model_spec, official.model_spec)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(versions, st.sampled_from(pb.ModelVersionStatus.State.values()), names), max_size=4))
def test_status_response_both_ways(statuses: list[tuple[int, int, str]]) -> None:
    ours = pb.GetModelStatusResponse(
        model_version_status=[
            pb.ModelVersionStatus(
                version=version, state=state, status=pb.StatusProto(error_code=3, error_message=message)
            )
            for version, state, message in statuses
        ]
    )
    official = get_model_status_pb2.GetModelStatusResponse.FromString(ours.SerializeToString())
    read = [(item.version, item.state, item.status.error_message) for item in official.model_version_status]
    assert read == statuses
    assert all(item.status.error_code == 3 for item in official.model_version_status)
    assert pb.GetModelStatusResponse.FromString(official.SerializeToString()) == ours


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
policies = st.one_of(
    st.builds(lambda n: {"latest": {"num_versions": n}}, st.integers(0, 2**32 - 1)),
    st.just({"all": {}}),
    st.builds(lambda found: {"specific": {"versions": found}}, st.lists(versions, max_size=4)),
)
model_configs = st.fixed_dictionaries(
    {
        "name": words,
        "base_path": words,
        "model_platform": words,
        "model_version_policy": policies,
        "version_labels": st.dictionaries(words, versions, max_size=3),
    },
    optional={
        "logging_config": st.fixed_dictionaries(
            {
                "log_collector_config": st.fixed_dictionaries({"type": words, "filename_prefix": words}),
                "sampling_config": st.fixed_dictionaries({"sampling_rate": st.floats(0, 1)}),
            }
        )
    },
)


@settings(deadline=None, max_examples=50)
@given(st.lists(model_configs, max_size=3))
def test_reload_request_both_ways_and_its_list_as_text(entries: list[dict[str, object]]) -> None:
    listed = {"config": {"model_config_list": {"config": entries}}}
    ours, official = pb.ReloadConfigRequest(**listed), model_management_pb2.ReloadConfigRequest(**listed)
    assert model_management_pb2.ReloadConfigRequest.FromString(ours.SerializeToString()) == official
    assert pb.ReloadConfigRequest.FromString(official.SerializeToString()) == ours
    text = text_format.MessageToString(ours.config, as_utf8=True)
    assert text == text_format.MessageToString(official.config, as_utf8=True)
    assert text_format.Parse(text, model_server_config_pb2.ModelServerConfig()) == official.config
    assert text_format.Parse(text, pb.ModelServerConfig()) == ours.config


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([0, 2, 3, 9]), words)
def test_reload_response_both_ways(code: int, message: str) -> None:
    official = model_management_pb2.ReloadConfigResponse()
    official.status.error_code, official.status.error_message = code, message
    ours = pb.ReloadConfigResponse.FromString(official.SerializeToString())
    assert (ours.status.error_code, ours.status.error_message) == (code, message)
    assert model_management_pb2.ReloadConfigResponse.FromString(ours.SerializeToString()) == official


def test_a_list_of_another_kind_is_not_taken_for_one_of_models() -> None:
    official = model_server_config_pb2.ModelServerConfig()
    official.custom_model_config.type_url = "any"
    assert pb.ModelServerConfig.FromString(official.SerializeToString()).WhichOneof("config") is None


def test_enums_agree() -> None:
    official = get_model_status_pb2.ModelVersionStatus.State
    assert dict(pb.ModelVersionStatus.State.items()) == dict(official.items())
    assert {name: types_pb2.DataType.Value(name) for name, _ in pb.DataType.items()} == dict(pb.DataType.items())


@pytest.mark.parametrize(
    ("file", "service", "method"),
    [
        (prediction_service_pb2, "PredictionService", "Predict"),
        (prediction_service_pb2, "PredictionService", "GetModelMetadata"),
        (model_service_pb2, "ModelService", "GetModelStatus"),
        (model_service_pb2, "ModelService", "HandleReloadConfigRequest"),
    ],
)
def test_the_methods_that_we_call_exist(file: object, service: str, method: str) -> None:
    descriptor = file.DESCRIPTOR.services_by_name[service]
    assert descriptor.full_name == f"tensorflow.serving.{service}"
    assert method in descriptor.methods_by_name
