"""What a training asks of a network: labels, votes, and a teacher's opinion beside them."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from trainer.data.split import Split
from trainer.networks.scores import softmax
from trainer.training.batches import Batches
from trainer.training.config import load_config
from trainer.training.fit import fit
from trainer.training.losses import Distillation, accuracy
from trainer.training.targets import Teacher, beside, class_weights, label_targets, labels_of, teacher_of


def test_the_loss_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(7, dtype=np.float32)[[3, 5]]
    logits, other = rng.normal(0, 2, (2, 2, 7)).astype(np.float32)
    teacher, student = softmax(other / np.float32(4)), softmax(logits / np.float32(4))
    hard = -np.log(softmax(logits)[[0, 1], [3, 5]])
    soft = (teacher * np.log(teacher / student)).sum(axis=1)
    expected = (0.4 * hard + 0.6 * 16 * soft).mean()
    targets = beside(labels, Teacher(softmax(other), {}), 4)
    assert float(Distillation(4, 0.6, 0)(targets, logits)) == pytest.approx(expected, rel=1e-4)
    # A student that agrees with its teacher has nothing to learn from it.
    agreed = beside(labels, Teacher(softmax(logits), {}), 4)
    assert float(Distillation(4, 1, 0)(agreed, logits)) == pytest.approx(0, abs=1e-5)
    hits = keras.ops.convert_to_numpy(accuracy(targets, 9 * np.eye(7, dtype=np.float32)[[3, 4]]))
    assert hits.tolist() == [1, 0]


def test_every_view_of_a_face_has_its_teaching(quick_config: Path, training: Split) -> None:
    opinions = np.random.default_rng(0).dirichlet(np.ones(7), 224).astype(np.float32)
    config = load_config(quick_config, ["distill.temperature=1"])
    _, targets = Batches(training, config, Teacher(opinions, {}))[0]
    taught = teacher_of(targets)
    rows = [int(np.abs(opinions - row).sum(axis=1).argmin()) for row in taught]
    np.testing.assert_allclose(taught, opinions[rows], atol=1e-6)
    np.testing.assert_array_equal(labels_of(targets).argmax(axis=1), training.labels[rows])


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


def test_votes_are_mixed_into_the_targets_of_those_who_have_any(training: Split) -> None:
    votes = np.zeros((224, 7), np.float32)
    votes[0, [2, 5]] = 0.5
    targets = label_targets(replace(training, votes=votes), 0.4)
    np.testing.assert_allclose(targets[0], [0.6, 0, 0.2, 0, 0, 0.2, 0], atol=1e-6)
    np.testing.assert_array_equal(targets[1:], np.eye(7)[training.labels[1:]])


def test_class_weights_undo_the_frequencies_and_have_mean_one() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = class_weights(np.eye(7, dtype=np.float32)[labels])
    assert weights[labels].mean() == pytest.approx(1)
    assert weights[1] == pytest.approx(2 * weights[0])
    assert weights[3] == pytest.approx(6 * weights[0])
    assert weights[2] == 0
