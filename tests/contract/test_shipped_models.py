"""Every version in model_repository/ keeps the model contract, and the configurations name what is there."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from api.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
VERSIONS = sorted(path.parent for path in ROOT.glob("model_repository/*/*/saved_model.pb"))
LARGEST_BYTES = {"ensemble": 16_000_000, "random": 8_000_000, "residual": 8_000_000}


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """A bundled face and its mirror image, float32 [2, 48, 48, 1] in [-1, 1]."""
    grey = cv2.imread(str(ROOT / "api/samples/face.jpg"), cv2.IMREAD_GRAYSCALE)
    face = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1
    return np.stack([face, face[:, ::-1]])[..., None]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_shipped_version_keeps_the_contract(version: Path, faces: np.ndarray) -> None:
    loaded = tf.saved_model.load(str(version))
    served = loaded.signatures["serving_default"](faces=tf.constant(faces))
    explained = loaded.signatures["explain"](faces=tf.constant(faces))
    scores = served["scores"].numpy()
    assert scores.dtype == np.float32
    assert scores.shape == (2, 7)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert served["classes"].numpy().astype(str).tolist() == [CLASSES, CLASSES]
    np.testing.assert_allclose(explained["scores"].numpy(), scores, atol=1e-5)
    heatmap = explained["heatmap"].numpy()
    assert heatmap.shape == (2, 48, 48)
    assert heatmap.min() >= 0
    assert heatmap.max() <= 1 + 1e-6
    facts = json.loads((version / "metrics.json").read_text())
    if facts.get("flip"):
        # The mean over both views is the same whichever comes first.
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    assert f"{facts['PublicTest']['accuracy']:.4f}" in (version / "README.md").read_text()
    warmup = tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests"))
    requests = [prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request for record in warmup]
    assert {request.model_spec.signature_name for request in requests} == {"serving_default", "explain"}
    assert {request.model_spec.name for request in requests} == {version.parent.name}
    assert (
        sum(file.stat().st_size for file in version.rglob("*") if file.is_file()) < LARGEST_BYTES[version.parent.name]
    )


def test_every_model_that_is_configured_is_shipped_and_the_other_way_round() -> None:
    config = text_format.Parse(
        (ROOT / "serving" / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    listed = {model.name: model for model in config.model_config_list.config}
    shipped = {version.parent.name for version in VERSIONS}
    assert set(listed) == shipped
    assert set(Settings().models) == shipped
    for name, model in listed.items():
        assert model.base_path == f"/models/{name}"
        assert (ROOT / "model_repository" / name / str(model.version_labels["stable"]) / "saved_model.pb").is_file()
