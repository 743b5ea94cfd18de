"""The user's path: train on a CSV, export, load the SavedModel."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from trainer.__main__ import CONFIGS
from trainer.config import load_config
from trainer.data import CLASSES, Split, normalize
from trainer.errors import ExportError
from trainer.evaluate import softmax
from trainer.export import export, next_version
from trainer.fit import Feed, load_facts
from trainer.models import build

# Enough steps for the normalisations' running statistics, which follow at 1 % a step, to settle.
QUICK = [
    "epochs=20",
    "batch_size=8",
    "learning_rate=0.004",
    "model_args={l2: 0, dropout: 0, head_dropout: 0, filters: [8, 16, 16]}",
    "ema=0.9",
    "augment.flip=0",
]


def trainer(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, fer_csv: Path) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "quick"
    settings = [part for override in QUICK for part in ("--set", override)]
    done = trainer("train", "residual", "--data", fer_csv, "--out", directory, *settings)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def version(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("repository")
    done = trainer("export", run, "--name", "quick", "--repository", repository)
    assert done.returncode == 0, done.stderr
    return repository / "quick" / "1"


@pytest.fixture(scope="module")
def keras_scores(run: Path, validation: Split) -> np.ndarray:
    config = load_config(run / "config.yaml", [])
    model = build(config.model, config.model_args)
    model.load_weights(run / "best.weights.h5")
    return softmax(model.predict(normalize(validation.images), verbose=0))


def test_it_learns_and_reports_what_the_saved_weights_give(
    run: Path, validation: Split, keras_scores: np.ndarray
) -> None:
    facts = load_facts(run)
    accuracy = facts["PublicTest"]["accuracy"]
    assert accuracy > 0.8
    assert (keras_scores.argmax(axis=1) == validation.labels).mean() == pytest.approx(accuracy, abs=0.02)
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert max(float(row["accuracy"]) for row in rows) == pytest.approx(accuracy, abs=1e-4)
    assert facts["data"]["training_images"] == 224
    assert facts["libraries"]["tensorflow"] == tf.__version__


def test_the_saved_model_answers_as_the_keras_model(version: Path, validation: Split, keras_scores: np.ndarray) -> None:
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = signature(faces=tf.constant(normalize(validation.images)))
    np.testing.assert_allclose(answer["scores"].numpy(), keras_scores, atol=1e-4)
    np.testing.assert_allclose(answer["scores"].numpy().sum(axis=1), 1, atol=1e-5)
    classes = answer["classes"].numpy()
    assert classes.shape == (len(validation), len(CLASSES))
    assert {tuple(row) for row in classes.tolist()} == {tuple(name.encode() for name in CLASSES)}


def test_no_faces_are_no_scores(version: Path) -> None:
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = signature(faces=tf.zeros((0, 48, 48, 1)))
    assert answer["scores"].shape == answer["classes"].shape == (0, 7)


def test_grad_cam_points_at_what_makes_the_class(version: Path, validation: Split) -> None:
    signature = tf.saved_model.load(str(version)).signatures["explain"]
    answer = signature(faces=tf.constant(normalize(validation.images)))
    heat = answer["heatmap"].numpy()
    assert heat.shape == (len(validation), 48, 48)
    assert heat.min() >= 0
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1, atol=1e-5)
    blob = validation.images > 120
    inside = np.array([h[b].mean() for h, b in zip(heat, blob, strict=True)])
    assert inside.mean() > 1.3 * heat.mean()


def test_grad_cam_matches_its_formula(run: Path, version: Path, validation: Split) -> None:
    config = load_config(run / "config.yaml", [])
    model = build(config.model, config.model_args)
    model.load_weights(run / "best.weights.h5")
    cam = keras.Model(model.input, [model.get_layer("cam").output, model.output])
    faces = normalize(validation.images[:3])
    with tf.GradientTape() as tape:
        maps, logits = cam(faces)
        top = tf.reduce_max(logits, axis=1)
    alpha = tape.gradient(top, maps).numpy().mean(axis=(1, 2))
    raw = np.maximum(np.einsum("nk,nhwk->nhw", alpha, maps.numpy()), 0)
    heat = tf.saved_model.load(str(version)).signatures["explain"](faces=tf.constant(faces))["heatmap"].numpy()
    cell = 48 // raw.shape[1]
    # Bilinear resizing puts the raw value at the centre of its cell, between the two middle pixels.
    centers = heat.reshape(3, raw.shape[1], cell, raw.shape[2], cell)[:, :, cell // 2 - 1 : cell // 2 + 1, :]
    centers = centers[..., cell // 2 - 1 : cell // 2 + 1].mean(axis=(2, 4))
    for predicted, expected in zip(centers, raw, strict=True):
        assert np.corrcoef(predicted.ravel(), expected.ravel())[0, 1] > 0.98


def test_warm_up_requests_are_valid_for_the_model(version: Path) -> None:
    signatures = tf.saved_model.load(str(version)).signatures
    records = tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests"))
    seen = set()
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "quick"
        faces = tf.make_ndarray(request.inputs["faces"])
        assert len(signatures[request.model_spec.signature_name](faces=tf.constant(faces))["scores"]) == len(faces)
        seen.add(request.model_spec.signature_name)
    assert seen == {"serving_default", "explain"}


def test_metrics_and_model_card_lie_beside_the_model(version: Path) -> None:
    facts = json.loads((version / "metrics.json").read_text())
    card = (version / "README.md").read_text()
    assert f"Accuracy {facts['PublicTest']['accuracy']:.4f}" in card
    assert facts["data"]["sha256"] in card
    assert "2024/1689" in card


def test_versions_only_grow_and_nothing_half_done_stays(run: Path, version: Path, fer_csv: Path) -> None:
    home = version.parent
    (home / "7").mkdir()
    done = trainer("export", run, "--name", "quick", "--repository", home.parent)
    assert done.returncode == 0, done.stderr
    assert next_version(home) == 9
    assert sorted(child.name for child in home.iterdir()) == ["1", "7", "8"]


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ExportError("disk full")

    monkeypatch.setattr("trainer.export.write_warmup", fail)
    with pytest.raises(ExportError, match="disk full"):
        export(build("residual", {"filters": [8, 16]}), "broken", tmp_path, {})
    assert list((tmp_path / "broken").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "residual", "--data", "missing.csv"], "error: missing.csv: cannot be read"),
        (["train", "nothing", "--data", "missing.csv"], "error: .*nothing.yaml: .*No such file"),
        (["train", "residual", "--data", "missing.csv", "--set", "epoch=1"], "error: .*epoch: Extra inputs"),
        (["export", "missing-run"], "error: missing-run/config.yaml"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    done = trainer(*arguments)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "Traceback" in line or line.startswith("error:")]
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_a_loss_that_is_not_finite_stops_with_a_message(fer_csv: Path, tmp_path: Path) -> None:
    settings = ["--set", "learning_rate=1e30", "--set", "warmup_epochs=0", "--set", "batch_size=16", "--set",
                "optimizer=sgd", "--set", "model_args.filters=[8]", "--set", "ema=0"]  # fmt: skip
    done = trainer("train", "residual", "--data", fer_csv, "--out", tmp_path, *settings)
    assert done.returncode == 1
    assert "error: the loss became nan" in done.stderr or "error: the loss became inf" in done.stderr


def test_a_feed_repeats_itself_and_changes_by_epoch(training: Split) -> None:
    config = load_config(CONFIGS / "residual.yaml", ["batch_size=32"])
    first, second = Feed(training, config), Feed(training, config)
    assert len(first) == 224 // 32
    np.testing.assert_array_equal(first[3][0], second[3][0])
    second.on_epoch_end()
    assert (first[3][0] != second[3][0]).any()
    labels = np.concatenate([first[i][1].argmax(axis=1) for i in range(len(first))])
    assert sorted(labels) == sorted(training.labels)


def test_a_run_starts_from_anothers_weights(fer_csv: Path, run: Path, tmp_path: Path) -> None:
    settings = [part for override in [*QUICK, "epochs=1", "learning_rate=0.000001"] for part in ("--set", override)]
    done = trainer("train", "residual", "--data", fer_csv, "--out", tmp_path / "more", "--init", run, *settings)
    assert done.returncode == 0, done.stderr
    before, after = load_facts(run), load_facts(tmp_path / "more")
    assert after["init"] == before
    assert after["PublicTest"]["accuracy"] == pytest.approx(before["PublicTest"]["accuracy"], abs=0.05)


def test_weights_of_another_model_are_refused(fer_csv: Path, run: Path, tmp_path: Path) -> None:
    done = trainer("train", "residual", "--data", fer_csv, "--out", tmp_path, "--init", run)
    assert done.returncode == 1
    assert f"error: {run}/best.weights.h5: cannot be loaded into residual: " in done.stderr
