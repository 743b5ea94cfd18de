"""Fit an ensemble's weights and temperature by cross-validation.

No figure here is measured on a face that its weights or its temperature were fitted on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from faces.contract import to_input
from trainer.data.split import Split
from trainer.ensemble import weights as weighting
from trainer.ensemble.combination import Combination, Member
from trainer.ensemble.weights import Floats, Labels
from trainer.errors import TrainingError
from trainer.evaluation.metrics import Metrics, reliability, score
from trainer.networks.scores import mean, temper, to_numpy

Method = Literal["soft", "hard", "greedy", "simplex"]
METHODS: tuple[Method, ...] = get_args(Method)
FOLDS = 5
_FITS: dict[Method, Callable[[Floats, Labels], NDArray[np.float64]]] = {
    "soft": weighting.uniform,
    "greedy": weighting.greedy,
    "simplex": weighting.simplex,
}


@dataclass(frozen=True)
class Rule:
    """How members' scores become one distribution."""

    # None is the hard vote, which has none.
    weights: NDArray[np.float64] | None
    temperature: float = 1.0

    def vote(self, scores: Floats) -> NDArray[np.float64]:
        """Scores [M, N, C] -> [N, C], before the temperature."""
        return weighting.hard_vote(scores) if self.weights is None else to_numpy(mean(scores, self.weights))

    def combine(self, scores: Floats) -> NDArray[np.float32]:
        """Scores [M, N, C] -> float32 [N, C]."""
        return to_numpy(temper(self.vote(scores), self.temperature)).astype(np.float32)


@dataclass(frozen=True)
class Candidate:
    """A way to combine members, and how good it is on faces that it was not fitted on."""

    # The method; for a member on its own, the member's name.
    name: str
    # Cross-validated, and so is the next one.
    metrics: Metrics
    # Expected calibration error, a fraction of 1.
    ece: float
    # Fitted on all faces.
    rule: Rule


def fit_rule(method: Method, scores: Floats, labels: Labels) -> Rule:
    """Fit weights, then the temperature of what they give: scores [M, N, C], labels [N]."""
    weights = _FITS[method](scores, labels) if method != "hard" else None
    return Rule(weights, weighting.fit_temperature(Rule(weights).vote(scores), labels))


def cross_validate(
    name: str, method: Method, scores: Floats, labels: Labels, *, folds: int = FOLDS, seed: int = 0
) -> Candidate:
    """Measure a method by stratified K-fold cross-validation and fit it on all faces.

    Every face is scored once, by the rule fitted on the folds that it is not in; the metrics are of those scores.

    Raises:
        TrainingError: fewer faces than folds.
    """
    if len(labels) < folds:
        raise TrainingError(f"PublicTest has {len(labels)} images, too few for {folds}-fold cross-validation")
    held_out = np.empty(scores.shape[1:], np.float32)
    fold = stratified_folds(labels, folds, seed)
    for index in range(folds):
        out = fold == index
        held_out[out] = fit_rule(method, scores[:, ~out], labels[~out]).combine(scores[:, out])
    return Candidate(name, score(held_out, labels), reliability(held_out, labels).ece, fit_rule(method, scores, labels))


def stratified_folds(labels: Labels, folds: int, seed: int) -> NDArray[np.int64]:
    """A fold, 0 to `folds` - 1, for each of [N] labels: random, of even size, each class spread evenly."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold


def member_scores(members: Sequence[Member], split: Split) -> NDArray[np.float32]:
    """The scores of members on their own, each of weight 1, of a split's N faces: float32 [M, N, C]."""
    faces = to_input(split.images)
    return np.stack([Combination([member]).scores(faces) for member in members])
