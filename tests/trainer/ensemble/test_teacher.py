"""A student hears what its teachers make of each image."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from faces.contract import to_input
from trainer.commands.train import train
from trainer.data.split import Split
from trainer.ensemble.teacher import Source, Teacher, consult, soften
from trainer.errors import ConfigError
from trainer.evaluation.metrics import softmax
from trainer.evaluation.predictor import open_predictor
from trainer.run_directory import load_run
from trainer.training.batches import Feed
from trainer.training.config import load_config
from trainer.training.fit import fit
from trainer.training.losses import Distillation, accuracy


def test_softening_divides_the_logits() -> None:
    logits = np.array([[4.0, 1.0, -2.0], [0.0, 0.0, 9.0]], np.float32)
    np.testing.assert_allclose(soften(softmax(logits), 3), softmax(logits / np.float32(3)), rtol=1e-4)
    assert np.isfinite(soften(np.eye(3, dtype=np.float32), 2)).all()


def test_the_loss_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(7, dtype=np.float32)[[3, 5]]
    logits, other = rng.normal(0, 2, (2, 2, 7)).astype(np.float32)
    teacher, student = softmax(other / np.float32(4)), softmax(logits / np.float32(4))
    hard = -np.log(softmax(logits)[[0, 1], [3, 5]])
    soft = (teacher * np.log(teacher / student)).sum(axis=1)
    expected = (0.4 * hard + 0.6 * 16 * soft).mean()
    targets = np.concatenate([labels, teacher], axis=1)
    assert float(Distillation(4, 0.6, 0)(targets, logits)) == pytest.approx(expected, rel=1e-4)
    # A student that agrees with its teacher has nothing to learn from it.
    agreed = np.concatenate([labels, softmax(logits / np.float32(4))], axis=1)
    assert float(Distillation(4, 1, 0)(agreed, logits)) == pytest.approx(0, abs=1e-5)
    hits = keras.ops.convert_to_numpy(accuracy(targets, 9 * np.eye(7, dtype=np.float32)[[3, 4]]))
    assert hits.tolist() == [1, 0]


def test_teachers_are_averaged_over_models_and_mirrors(trained_run: Path, training: Split) -> None:
    images = training.images[:5]
    model = load_run(trained_run)
    plain, mirrored = (softmax(model.predict(to_input(view), verbose=0)) for view in (images, images[:, :, ::-1]))
    one, both = (consult([Source(trained_run)] * 2, images, views) for views in (1, 2))
    np.testing.assert_allclose(one.probabilities, plain, atol=1e-5)
    np.testing.assert_allclose(both.probabilities, (plain + mirrored) / 2, atol=1e-5)
    assert both.facts["views"] == 2
    assert len({source["sha256"] for source in both.facts["sources"]}) == 1


def test_the_feed_gives_every_view_its_images_teaching(quick_config: Path, training: Split) -> None:
    opinions = np.random.default_rng(0).dirichlet(np.ones(7), 224).astype(np.float32)
    opinions[np.arange(224), training.labels] += 1  # so that labels can be told from the teaching
    _, targets = Feed(training, load_config(quick_config, []), opinions)[0]
    assert targets.shape == (16, 14)
    rows = [int(np.abs(opinions - row).sum(axis=1).argmin()) for row in targets[:, 7:]]
    np.testing.assert_array_equal(targets[:, 7:], opinions[rows])
    np.testing.assert_array_equal(targets[:, :7].argmax(axis=1), training.labels[rows])


def test_a_student_learns_what_only_the_teacher_knows(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    # The labels say nothing, all are "angry"; the teacher knows the classes.
    mute = Split(training.images, np.zeros_like(training.labels))
    knowing = np.full((224, 7), 0.01, np.float32)
    knowing[np.arange(224), training.labels] = 0.94
    config = load_config(quick_config, ["distill.weight=0.95"])
    teacher = Teacher(knowing, {"sources": [], "views": 1})
    result = fit(config, mute, validation, tmp_path, {}, Console(quiet=True), teacher=teacher)
    # Who learnt from the labels alone would know one class in seven.
    assert result.metrics.accuracy > 2 / 7


def test_a_saved_model_teaches_too(linear_models: Path, training: Split) -> None:
    version = next(path.parent for path in sorted(linear_models.rglob("saved_model.pb")))
    teacher = consult([Source(version)], training.images[:9], 1)
    expected = open_predictor(str(version)).scores(to_input(training.images[:9]))
    np.testing.assert_allclose(teacher.probabilities, expected, atol=1e-6)


def test_the_command_trains_and_names_the_teacher(
    quick_config: Path, trained_run: Path, fer_csv: Path, tmp_path: Path
) -> None:
    train("student", [fer_csv], teacher=[f"{trained_run}:2"], out=tmp_path, config=quick_config, overrides=["epochs=1"])
    (source,) = json.loads((tmp_path / "metrics.json").read_text())["teacher"]["sources"]
    assert (source["name"], source["temperature"]) == (trained_run.name, 2)
    # Without its teacher it would not be the same run.
    with pytest.raises(ConfigError, match="teacher: not the one that this run began with"):
        train("student", [fer_csv], out=tmp_path, config=quick_config, overrides=["epochs=1"], resume=True)


def test_what_is_no_teacher_is_named(tmp_path: Path, training: Split) -> None:
    with pytest.raises(ConfigError, match="neither a run directory"):
        consult([Source(tmp_path)], training.images, 1)
    with pytest.raises(ConfigError, match="no teacher"):
        consult([], training.images, 1)
