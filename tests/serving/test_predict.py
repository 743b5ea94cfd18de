"""Predict, GetModelMetadata and GetModelStatus against one server with a model in two versions."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.flags import Options
from serving.savedmodel import MAX_MESSAGE_BYTES
from serving.server import ModelServer
from tests.serving.conftest import AVAILABLE, CLASSES, DEADLINE, Client, Repository, rpc_error

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
ONE = np.zeros((1, 48, 48, 1), np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, prepared: dict[str, Path]) -> Repository:
    root = tmp_path_factory.mktemp("models")
    (root / "faces").mkdir()
    repository = Repository(root, prepared)
    repository.add(1, which="first")
    repository.add(2, which="second")
    return repository


@pytest.fixture(scope="module")
def client(repository: Repository) -> Iterator[Client]:
    config = repository.root / "models.config"
    config.write_text(f"model_config_list {{ {repository.config('all {}', labels={'stable': 1})} }}")
    server = ModelServer(
        Options(
            model_config_file=config,
            host="127.0.0.1",
            port=0,
            allow_version_labels_for_unavailable_models=True,
        )
    )
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Client(channel)
    server.stop(grace=10)


def test_scores_equal_the_saved_model_loaded_directly(
    client: Client, repository: Repository, faces: np.ndarray
) -> None:
    for version, which in ((1, "first"), (2, "second")):
        response = client.predict({"faces": faces}, version=version)
        scores = tf.make_ndarray(response.outputs["scores"])
        np.testing.assert_allclose(scores, repository.scores(faces, which), rtol=1e-6)
    assert not np.allclose(repository.scores(faces, "first"), repository.scores(faces, "second"))


def test_response_says_who_answered(client: Client, faces: np.ndarray) -> None:
    response = client.predict({"faces": faces})
    assert response.model_spec.name == "faces"
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"


def test_outputs_are_typed_and_shaped(client: Client, faces: np.ndarray) -> None:
    outputs = client.predict({"faces": faces}).outputs
    assert set(outputs) == {"scores", "classes"}
    assert len(outputs["scores"].tensor_content) == 3 * 7 * 4
    assert tf.make_ndarray(outputs["classes"]).astype(str).tolist() == [CLASSES] * 3


def test_values_may_come_in_any_field_of_tensor_proto(client: Client, faces: np.ndarray) -> None:
    repeated = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=faces.ravel().tolist())
    repeated.tensor_shape.CopyFrom(tf.TensorShape(faces.shape).as_proto())
    by_value = client.predict({"faces": repeated}).outputs["scores"]
    by_content = client.predict({"faces": faces}).outputs["scores"]
    assert by_value == by_content


def test_choice_of_version(client: Client) -> None:
    assert client.answering_version() == 2
    assert client.answering_version(version=1) == 1
    assert client.answering_version(label="stable") == 1


def test_output_filter(client: Client, faces: np.ndarray) -> None:
    assert set(client.predict({"faces": faces}, outputs=("scores",)).outputs) == {"scores"}
    with rpc_error(INVALID, "alias not found in signature: logits .*{classes,scores}"):
        client.predict({"faces": faces}, outputs=("scores", "logits"))
    with rpc_error(INVALID, "duplicate output tensor alias: scores"):
        client.predict({"faces": faces}, outputs=("scores", "scores"))


def test_named_signature(client: Client) -> None:
    response = client.predict({"values": np.array([1.0, 2.0], np.float32)}, signature="checked")
    assert tf.make_ndarray(response.outputs["values"]).tolist() == [1.0, 2.0]
    assert response.model_spec.signature_name == "checked"
    with rpc_error(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "absent" not found.'):
        client.predict({"faces": ONE}, signature="absent")


def test_unknown_model_version_and_label(client: Client) -> None:
    with rpc_error(NOT_FOUND, r"Servable not found for request: Latest\(other\)"):
        client.predict({"faces": ONE}, model="other")
    with rpc_error(NOT_FOUND, r"Servable not found for request: Specific\(faces, 9\)"):
        client.predict({"faces": ONE}, version=9)
    with rpc_error(INVALID, "Unrecognized servable version label: canary"):
        client.predict({"faces": ONE}, label="canary")
    with rpc_error(INVALID, "ModelSpec has no name"):
        client.predict({"faces": ONE}, model="")
    with rpc_error(INVALID, "Missing ModelSpec"):
        client.prediction.Predict(predict_pb2.PredictRequest(), timeout=DEADLINE)


def proto(shape: list[int], **values: object) -> tensor_pb2.TensorProto:
    made = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, **values)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"faces": np.zeros((1, 32, 32, 1), np.float32)},
            r'"faces" has shape \(1, 32, 32, 1\), expected \(None, 48, 48, 1\)',
        ),
        ({"faces": np.zeros((48, 48, 1), np.float32)}, r'"faces" has shape \(48, 48, 1\)'),
        ({"faces": np.zeros((1, 48, 48, 1), np.float64)}, '"faces" is float64, expected float32'),
        ({"faces": np.array([["a"]])}, '"faces" is string, expected float32'),
        ({}, "Missing but required: {faces}"),
        ({"images": ONE}, "Sent extra: {images}. Missing but required: {faces}"),
        ({"faces": ONE, "mask": ONE}, "Sent extra: {mask}. Missing but required: {}"),
        ({"faces": proto([1, 48, 48, 1], tensor_content=b"1234")}, '"faces" does not hold the values'),
        ({"faces": proto([-1, 48, 48, 1])}, r'"faces" has shape \(None, 48, 48, 1\)'),
        ({"faces": proto([-7, 48, 48, 1])}, '"faces"'),
        (
            {"faces": proto([10**9, 48, 48, 1], float_val=[0])},
            f'"faces" has .* the limit is {MAX_MESSAGE_BYTES}',
        ),
    ],
)
def test_input_that_does_not_fit_the_signature(client: Client, inputs: dict[str, object], message: str) -> None:
    with rpc_error(INVALID, message):
        client.predict(inputs)


def test_error_raised_while_running_keeps_its_code(client: Client) -> None:
    with rpc_error(INVALID, "no number"):
        client.predict({"values": np.array([np.nan], np.float32)}, signature="checked")


def test_message_over_the_limit(client: Client) -> None:
    rows = MAX_MESSAGE_BYTES // ONE.nbytes + 1
    with rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"):
        client.predict({"faces": np.zeros((rows, 48, 48, 1), np.float32)})


def test_metadata(client: Client) -> None:
    response = client.metadata(label="stable")
    assert (response.model_spec.name, response.model_spec.version.value) == ("faces", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    definition = signatures.signature_def["serving_default"]
    assert set(definition.inputs) == {"faces"}
    assert set(definition.outputs) == {"scores", "classes"}
    assert [dim.size for dim in definition.inputs["faces"].tensor_shape.dim] == [-1, 48, 48, 1]
    assert client.metadata().model_spec.version.value == 2


def test_metadata_field_must_be_signature_def(client: Client) -> None:
    with rpc_error(INVALID, "at least one metadata_field"):
        client.metadata(fields=())
    with rpc_error(INVALID, "Metadata field weights is not supported"):
        client.metadata(fields=("weights",))
    with rpc_error(INVALID, "Unrecognized servable version label: canary"):
        client.metadata(label="canary")


def test_status(client: Client) -> None:
    assert [(s.version, s.state, s.status.error_code) for s in client.status()] == [
        (2, AVAILABLE, 0),
        (1, AVAILABLE, 0),
    ]
    assert [s.version for s in client.status(version=1)] == [1]
    # TensorFlow Serving's GetModelStatus takes no notice of a label.
    assert [s.version for s in client.status(label="stable")] == [2, 1]


def test_status_of_the_unknown(client: Client) -> None:
    with rpc_error(NOT_FOUND, "Could not find any versions of model other"):
        client.status("other")
    with rpc_error(NOT_FOUND, "Could not find version 9 of model faces"):
        client.status(version=9)
    with rpc_error(INVALID, "Missing ModelSpec"):
        client.models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(), timeout=DEADLINE)
