"""What a training minimises, on logits. Targets are distributions over the classes (see `targets`), not indices."""

from typing import Any

import keras
from keras import ops

from trainer.training.config import TrainConfig
from trainer.training.targets import labels_of, teacher_of


class Distillation(keras.losses.Loss):  # type: ignore[misc]
    """The labels' cross-entropy and the teacher's divergence (Hinton, Vinyals & Dean 2015, section 2).

    (1 - w) * CE(labels, softmax(z)) + w * T^2 * KL(teacher_T || softmax(z / T)), per face. T^2 keeps the share of the
    two gradients the same at any temperature.

    Called with targets float32 [B, 14], the teacher's part softened by T already, and logits float32 [B, 7].

    Args:
        temperature: T.
        weight: w, in [0, 1].
        label_smoothing: applied to the labels alone: the teacher is soft by itself.
    """

    def __init__(self, temperature: float, weight: float, label_smoothing: float) -> None:
        super().__init__(name="distillation")
        self._temperature = temperature
        self._weight = weight
        self._smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels, teacher = labels_of(y_true), teacher_of(y_true)
        hard = keras.losses.categorical_crossentropy(labels, y_pred, from_logits=True, label_smoothing=self._smoothing)
        student = ops.log_softmax(y_pred / self._temperature)
        divergence = ops.sum(teacher * (ops.log(ops.maximum(teacher, 1e-9)) - student), axis=-1)
        return (1 - self._weight) * hard + self._weight * self._temperature**2 * divergence


def loss(config: TrainConfig, *, taught: bool) -> keras.losses.Loss:
    """Cross-entropy; with a teacher, `Distillation`."""
    if taught:
        return Distillation(config.distill.temperature, config.distill.weight, config.label_smoothing)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Share of faces whose largest logit is where the label's target is largest: [B, 7 or 14], [B, 7] -> [B]."""
    hits = ops.equal(ops.argmax(labels_of(y_true), axis=-1), ops.argmax(y_pred, axis=-1))
    return ops.cast(hits, "float32")
