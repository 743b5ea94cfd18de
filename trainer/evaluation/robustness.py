"""A model under the conditions of `trainer.evaluation.conditions`, and how sure it must be to be believed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Split
from trainer.evaluation.conditions import CLEAN, disturbed
from trainer.evaluation.metrics import reliability
from trainer.networks.scores import PLAIN, Scorer, over_views

RIGHT_BELOW = 0.6
"""Answers that are right no more often than this are unclear."""


@dataclass(frozen=True)
class Condition:
    name: str
    accuracy: float
    # Expected calibration error, a fraction of 1.
    ece: float


@dataclass(frozen=True)
class Robustness:
    """One model under all conditions."""

    # The clean faces first.
    conditions: tuple[Condition, ...]
    # See `unclear_below`; of the faces of all conditions together.
    unclear_below: float
    # Share of the clean faces that are unclear, and of those of all conditions.
    unclear_clean: float
    unclear: float

    @property
    def mean(self) -> float:
        """The conditions' mean accuracy."""
        return float(np.mean([each.accuracy for each in self.conditions]))

    def to_json(self) -> dict[str, Any]:
        """JSON-able; fractions of 1."""
        return {
            "mean_accuracy": self.mean,
            "unclear_below": self.unclear_below,
            "unclear_share": {"clean": self.unclear_clean, "all": self.unclear},
            "conditions": {each.name: {"accuracy": each.accuracy, "ece": each.ece} for each in self.conditions},
        }


def measure_robustness(
    score: Scorer, split: Split, *, views: Sequence[str] = PLAIN, tell: Callable[[str], None] = lambda _: None
) -> Robustness:
    """Measure a model under every condition, each time on all of a split's faces.

    Args:
        score: the model.
        split: labelled faces, at least one.
        views: of a face, to average over; PLAIN where the model does so itself.
        tell: is called with each condition's name before it is measured.
    """
    conditions, confidences, right = [], [], []
    for name, images in disturbed(split.images, tell):
        scores = over_views(score, images, views)
        correct = scores.argmax(axis=1) == split.labels
        conditions.append(Condition(name, float(correct.mean()), reliability(scores, split.labels).ece))
        confidences.append(scores.max(axis=1))
        right.append(correct)
    assert conditions[0].name == CLEAN
    confidence = np.concatenate(confidences)
    threshold = unclear_below(confidence, np.concatenate(right))
    return Robustness(
        tuple(conditions),
        threshold,
        float((confidences[0] < threshold).mean()),
        float((confidence < threshold).mean()),
    )


def unclear_below(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """The confidence under which answers are right in at most RIGHT_BELOW of the cases, at each confidence.

    How often answers of a confidence are right is the isotonic regression of the answers (Barlow et al. 1972): it never
    falls where confidence grows. A share of all answers under a confidence would not do: where most answers are wrong
    it calls nearly all unclear, and the good ones with them.

    Args:
        confidence: [N], each face's highest probability.
        right: bool [N], whether that class is its label.

    Returns:
        0 where nothing is unclear, 1 where all is.
    """
    # Takes a second to import.
    from scipy.optimize import isotonic_regression

    order = np.argsort(confidence, kind="stable")
    shares = isotonic_regression(right[order].astype(np.float64)).x
    count = int(np.searchsorted(shares, RIGHT_BELOW, side="right"))
    return 1.0 if count == len(order) else 0.0 if not count else float(confidence[order[count]])
