"""Metrics of predicted scores against labels, how certain they are, and whether two models differ.

Every interval is the percentile bootstrap's at 95 % (Efron and Tibshirani 1993, chapter 13).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES

RESAMPLES = 10_000
BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Metrics:
    """Classification metrics; every figure is a fraction of 1 except `log_loss` (nats)."""

    count: int
    # Share of faces whose top class is the label.
    accuracy: float
    # Mean over classes of the harmonic mean of precision and recall; a class never predicted counts 0.
    macro_f1: float
    # Mean negative log-likelihood of the label.
    log_loss: float
    # Per class; 0 where undefined.
    precision: dict[str, float]
    recall: dict[str, float]
    # Counts, row = label, column = prediction.
    confusion: list[list[int]]

    @property
    def f1(self) -> dict[str, float]:
        """Harmonic mean of precision and recall per class; 0 where both are."""
        return {name: float(_f1(precision, self.recall[name])) for name, precision in self.precision.items()}

    @property
    def support(self) -> dict[str, int]:
        """Number of faces labelled with each class."""
        return {name: sum(row) for name, row in zip(self.precision, self.confusion, strict=True)}


@dataclass(frozen=True)
class Reliability:
    """Confidence (the top class's score) against accuracy, in bins of equal width."""

    # float64 [B + 1], from 0 to 1; bin b holds confidences in (edges[b], edges[b + 1]].
    edges: NDArray[np.float64]
    # int64 [B].
    count: NDArray[np.int64]
    # float64 [B], means over each bin; 0 where it is empty.
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error (Guo et al. 2017, equation 3), a fraction of 1."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.count * gaps).sum() / self.count.sum())

    def to_json(self) -> dict[str, Any]:
        return {name: values.tolist() for name, values in vars(self).items()}


@dataclass(frozen=True)
class Paired:
    """Two models, A and B, on the same faces."""

    count: int
    # Faces that one of the two gets right and the other wrong (McNemar's b and c).
    only_a: int
    only_b: int
    # Accuracy of A minus accuracy of B.
    difference: float
    # Of the difference, from resampling faces and not models.
    interval: tuple[float, float]
    # Two-sided exact McNemar test of equal accuracy.
    p_value: float


def score(scores: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> Metrics:
    """Metrics of scores float32 [N, 7] (rows sum to 1) against labels, integers [N], N at least 1."""
    count, classes = scores.shape
    predicted = scores.argmax(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    hits = confusion.diagonal()
    precision = hits / np.maximum(confusion.sum(axis=0), 1)
    recall = hits / np.maximum(confusion.sum(axis=1), 1)
    likelihood = np.maximum(scores[np.arange(count), labels], np.finfo(np.float32).tiny)
    return Metrics(
        count=count,
        accuracy=float(hits.sum() / count),
        macro_f1=float(_f1(precision, recall).mean()),
        log_loss=float(-np.log(likelihood).mean()),
        precision=dict(zip(CLASSES, map(float, precision), strict=True)),
        recall=dict(zip(CLASSES, map(float, recall), strict=True)),
        confusion=confusion.tolist(),
    )


def accuracy_interval(correct: NDArray[np.bool_], *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the accuracy.

    Drawing N faces with replacement draws a binomial number of correct ones, which is drawn here without the detour.

    Args:
        correct: bool [N], N at least 1. Where all or none are correct, the interval is a point.
    """
    hits = np.random.default_rng(seed).binomial(len(correct), correct.mean(), RESAMPLES)
    return _percentiles(hits / len(correct))


def reliability(scores: NDArray[np.float32], labels: NDArray[np.integer[Any]], *, bins: int = BINS) -> Reliability:
    """Bin scores float32 [N, C] (rows sum to 1) by confidence, against labels [N]."""
    confidence = scores.max(axis=1).astype(np.float64)
    correct = scores.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    # Only inner edges: a confidence that rounding put at 1.0000001 belongs to the last bin.
    index = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, values, minlength=bins) for values in (confidence, correct))
    return Reliability(edges, count, *(total / np.maximum(count, 1) for total in sums))


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_], *, seed: int = 0) -> Paired:
    """McNemar's test (1947) of whether two models are equally accurate, from where each is correct.

    Given the faces on which they disagree, equal models are each right on a binomial half of them. The test is that of
    the binomial, exact for any number of faces.

    Args:
        a, b: bool [N], correctness of each model on the same faces in the same order.
    """
    # Takes a second to import, which every training would wait for.
    from scipy.stats import binomtest

    count = len(a)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    disagreements = only_a + only_b
    shares = np.array([only_a, only_b, count - disagreements]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, RESAMPLES)
    return Paired(
        count=count,
        only_a=only_a,
        only_b=only_b,
        difference=(only_a - only_b) / count,
        interval=_percentiles((drawn[:, 0] - drawn[:, 1]) / count),
        p_value=float(binomtest(only_a, disagreements).pvalue) if disagreements else 1.0,
    )


def _f1(precision: Any, recall: Any) -> Any:
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
