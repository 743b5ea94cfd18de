"""Metrics of predicted scores against labels."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import CLASSES


@dataclass(frozen=True)
class Metrics:
    """Classification metrics; every figure is a fraction of 1 except `log_loss` (nats).

    Attributes:
        accuracy: share of faces whose top class is the label.
        macro_f1: mean over classes of the harmonic mean of precision and recall; a class never predicted counts 0.
        log_loss: mean negative log-likelihood of the label.
        precision, recall: per class; 0 where undefined.
        confusion: counts, row = label, column = prediction.
    """

    count: int
    accuracy: float
    macro_f1: float
    log_loss: float
    precision: dict[str, float]
    recall: dict[str, float]
    confusion: list[list[int]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row-wise softmax, [N, C] -> [N, C], shifted by the row maximum so that it cannot overflow."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores


def score(scores: NDArray[np.float32], labels: NDArray[np.uint8]) -> Metrics:
    """Metrics of scores float32 [N, 7] (rows sum to 1) against labels uint8 [N], N at least 1."""
    count, classes = scores.shape
    predicted = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    hits = confusion.diagonal()
    precision = hits / np.maximum(confusion.sum(axis=0), 1)
    recall = hits / np.maximum(confusion.sum(axis=1), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    likelihood = np.maximum(scores[np.arange(count), labels], np.finfo(np.float32).tiny)
    return Metrics(
        count=count,
        accuracy=float(hits.sum() / count),
        macro_f1=float(f1.mean()),
        log_loss=float(-np.log(likelihood).mean()),
        precision=dict(zip(CLASSES, map(float, precision), strict=True)),
        recall=dict(zip(CLASSES, map(float, recall), strict=True)),
        confusion=confusion.tolist(),
    )
