"""Scores from a SavedModel and from model servers: the project's own, and one that answers what a test tells it to."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from faces.contract import CLASSES, to_input
from trainer.data.split import Split
from trainer.errors import TrainerError
from trainer.evaluation.predictor import SavedModelPredictor, ServerPredictor, open_predictor
from trainer.networks.scores import softmax

Answer = Callable[[Any], Any]


@pytest.fixture(scope="module")
def faces(validation: Split) -> np.ndarray:
    return to_input(validation.images)


@pytest.fixture(scope="module")
def expected(faces: np.ndarray, templates: np.ndarray) -> np.ndarray:
    return softmax(faces.reshape(len(faces), -1) @ templates)


class Scripted(prediction_service_pb2_grpc.PredictionServiceServicer):
    answer: Answer

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return self.answer(request)


@pytest.fixture
def scripted() -> Iterator[Callable[[Answer], str]]:
    """scripted(answer) is the source of a server whose every response is answer(request)."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    service = Scripted()
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def start(answer: Answer) -> str:
        service.answer = answer
        return f"127.0.0.1:{port}/any"

    yield start
    server.stop(grace=None).wait()


def response(count: int = 1, version: int = 1, **outputs: Any) -> Any:
    """A response to `count` faces that keeps the contract but for `outputs`; None leaves one out."""
    scores = np.full((count, 7), 1 / 7, np.float32)
    found = {"scores": scores, "classes": np.tile(CLASSES, (count, 1))} | outputs
    message = predict_pb2.PredictResponse()
    message.model_spec.version.value = version
    for name, value in found.items():
        if value is not None:
            message.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def predicted(source: str, faces: np.ndarray, **options: Any) -> np.ndarray:
    predictor = ServerPredictor(source, **options)
    try:
        return predictor.scores(faces)
    finally:
        predictor.close()


def test_a_saved_model_answers_in_order_over_several_batches(
    linear_models: Path, faces: np.ndarray, expected: np.ndarray
) -> None:
    predictor = open_predictor(linear_models / "2")
    scores = predictor.scores(np.concatenate([faces] * 5))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.concatenate([expected] * 5), atol=1e-5)
    assert predictor.scores(faces[:0]).shape == (0, 7)


@pytest.mark.parametrize(("choice", "version"), [("", 2), ("/1", 1), ("/2", 2), ("@stable", 1)])
def test_a_server_answers_as_the_saved_model(
    model_server: str, linear_models: Path, faces: np.ndarray, choice: str, version: int
) -> None:
    predictor = open_predictor(f"{model_server}/linear{choice}")
    assert isinstance(predictor, ServerPredictor)
    # 70 faces: one whole request and a part of one.
    scores = predictor.scores(faces)
    predictor.close()
    assert predictor.version == version
    np.testing.assert_allclose(scores, SavedModelPredictor(linear_models / str(version)).scores(faces), atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "code"), [("linear/3", "NOT_FOUND"), ("linear@canary", "INVALID_ARGUMENT"), ("other", "NOT_FOUND")]
)
def test_what_a_server_does_not_have_is_named(model_server: str, faces: np.ndarray, choice: str, code: str) -> None:
    with pytest.raises(TrainerError, match=f"^{model_server}/{choice}: serving_default: {code}: .+"):
        predicted(f"{model_server}/{choice}", faces)


def test_a_server_that_is_not_there_is_unavailable(faces: np.ndarray) -> None:
    with pytest.raises(TrainerError, match=r"^127\.0\.0\.1:1/linear: serving_default: UNAVAILABLE: "):
        predicted("127.0.0.1:1/linear", faces)


def test_a_silent_server_runs_into_the_deadline(scripted: Callable[[Answer], str], faces: np.ndarray) -> None:
    with pytest.raises(TrainerError, match="DEADLINE_EXCEEDED"):
        predicted(scripted(lambda _: time.sleep(0.5) or response()), faces[:1], deadline=0.1)


def test_both_encodings_of_a_tensor_are_read(scripted: Callable[[Answer], str], faces: np.ndarray) -> None:
    scores = np.array([[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]], np.float32)
    packed = response(scores=scores)
    assert packed.outputs["scores"].tensor_content
    listed = response(scores=scores)
    listed.outputs["scores"].ClearField("tensor_content")
    listed.outputs["scores"].float_val.extend(scores[0])
    for message in (packed, listed):
        np.testing.assert_array_equal(predicted(scripted(lambda _, m=message: m), faces[:1]), scores)


def test_a_version_that_changes_halfway_is_refused(scripted: Callable[[Answer], str], faces: np.ndarray) -> None:
    versions = iter([3, 4])
    source = scripted(lambda r: response(r.inputs["faces"].tensor_shape.dim[0].size, next(versions)))
    with pytest.raises(TrainerError, match="version 4 answered after version 3 had"):
        predicted(source, faces)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"classes": None}, "answers without classes"),
        ({"scores": np.full((1, 6), 1 / 6, np.float32)}, r"answers scores float32 \[1, 6\]"),
        ({"scores": np.full((1, 7), 1 / 7)}, "answers scores float64"),
        ({"scores": np.full((1, 7), np.nan, np.float32)}, "no probabilities"),
        ({"scores": np.array([[3, -2, 0, 0, 0, 0, 0]], np.float32)}, "no probabilities"),
        ({"classes": [["joy", *CLASSES[1:]]]}, "its classes are joy, disgust, .*, not angry, disgust"),
        ({"classes": [["fear", *CLASSES[1:]]]}, "its classes are fear, disgust, fear"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(
    scripted: Callable[[Answer], str], faces: np.ndarray, outputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainerError, match=message):
        predicted(scripted(lambda _: response(**outputs)), faces[:1])


def test_classes_in_another_order_are_put_in_ours(
    save_model: Callable[..., Path], templates: np.ndarray, tmp_path: Path, faces: np.ndarray, expected: np.ndarray
) -> None:
    order = [3, 0, 6, 1, 5, 2, 4]
    version = save_model(tmp_path / "1", templates[:, order], [CLASSES[index] for index in order])
    np.testing.assert_allclose(open_predictor(version).scores(faces), expected, atol=1e-5)


def test_what_is_no_model_of_the_contract_is_refused(tmp_path: Path, linear_models: Path) -> None:
    with pytest.raises(TrainerError, match=r"has no saved_model\.pb; name a version's directory"):
        open_predictor(linear_models)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(TrainerError, match=r"^[^\n]*broken: cannot be loaded: [^\n]+$"):
        open_predictor(broken)
    module = tf.Module()
    module.call = tf.function(lambda pixels: {"scores": pixels}, input_signature=[tf.TensorSpec([None, 3])])
    for signature, message in (("other", "it has: other"), ("serving_default", r"takes pixels float32 \(None, 3\)")):
        tf.saved_model.save(module, str(tmp_path / signature), signatures={signature: module.call})
        with pytest.raises(TrainerError, match=message):
            open_predictor(tmp_path / signature)


@pytest.mark.parametrize("source", ["nowhere", "localhost/faces", "localhost:8500", "h:1/m/latest", "h:1/m/1@stable"])
def test_what_is_neither_directory_nor_address_is_refused(source: str) -> None:
    with pytest.raises(TrainerError, match=f"^{source}: neither a directory nor host:port/model"):
        open_predictor(source)
