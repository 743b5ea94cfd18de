"""Fit an ensemble's weights and temperature by cross-validation, write it down, and read it back.

No figure here is measured on a face that its weights or its temperature were fitted on.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from faces.contract import to_input
from trainer.data.dataset import Dataset
from trainer.data.split import Split
from trainer.ensemble import weights as weighting
from trainer.ensemble.combination import Combination, Member
from trainer.ensemble.weights import Floats, Labels
from trainer.errors import ConfigError, TrainingError
from trainer.evaluation.metrics import Metrics, reliability, score
from trainer.files import write_json
from trainer.networks.scores import FLIPPED, PLAIN, mean, temper, to_numpy
from trainer.run_directory import ENSEMBLE, load_facts
from trainer.training.checkpoint import load_run

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


def save_ensemble(
    directory: Path,
    runs: Sequence[Path],
    method: Method,
    candidates: Mapping[Method, Candidate],
    *,
    views: Sequence[str],
    data: Mapping[str, Any],
) -> None:
    """Write `ensemble.json`: the members with a weight above 0, their facts, and every method's figures.

    Args:
        directory: made if it does not exist.
        runs: the run directories, in the order of the scores that `candidates` were computed from.
        method: the one to export; not the hard vote.
        views: what the members' scores were averaged over.
        data: `Dataset.facts` of the faces that the weights were fitted on.
    """
    chosen = candidates[method]
    assert chosen.rule.weights is not None
    kept = [(run, float(weight)) for run, weight in zip(runs, chosen.rule.weights, strict=True) if weight > 0]
    members: list[dict[str, Any]] = [{"name": run.name, "weight": weight, **load_facts(run)} for run, weight in kept]
    summary = {
        "runs": [os.path.relpath(run, directory) for run, _ in kept],
        "method": method,
        "views": views,
        "temperature": chosen.rule.temperature,
        "folds": FOLDS,
        "parameters": sum(member["parameters"] for member in members),
        "PublicTest": chosen.metrics.to_json(),
        "ece": chosen.ece,
        "methods": {
            name: {"accuracy": each.metrics.accuracy, "log_loss": each.metrics.log_loss, "ece": each.ece}
            for name, each in candidates.items()
        },
        "members": members,
        "data": data,
    }
    write_json(directory / ENSEMBLE, summary)


def require_same_public_test(runs: Sequence[Path], data: Mapping[str, Any]) -> None:
    """Refuse runs that were judged on another PublicTest: faces of this one may be among those they learnt from.

    Args:
        data: `Dataset.facts` of the faces that weights and temperature are to be fitted on.

    Raises:
        ConfigError: names the run.
    """
    for run in runs:
        trained = load_facts(run)["data"]
        if trained.get("public_test_sha256") != data["public_test_sha256"]:
            names = ", ".join(source["name"] for source in trained.get("sources", []))
            raise ConfigError(
                f"{run}: trained with another PublicTest than this one ({names or 'unknown data'}), whose faces it may"
                " have learnt from; give the --data of its training"
            )


def load_ensemble(directory: Path) -> tuple[Combination, dict[str, Any]]:
    """The combination that `save_ensemble` described, its members loaded from their runs, and its facts.

    Raises:
        TrainingError: the directory holds no ensemble.
        ConfigError: a member's run is gone or does not load.
    """
    path = directory / ENSEMBLE
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        runs = [directory / run for run in facts.pop("runs")]
        weights = [member["weight"] for member in facts["members"]]
        # One written before there were views says whether it flips.
        views = facts.setdefault("views", FLIPPED if facts.pop("flip", False) else PLAIN)
        temperature = facts["temperature"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: not an ensemble: {error}") from error
    members = [Member(load_run(run), weight, tuple(views)) for run, weight in zip(runs, weights, strict=True)]
    return Combination(members, temperature), facts


def load_single(
    run: Path, *, views: tuple[str, ...] = PLAIN, calibrate: bool = False, dataset: Dataset | None = None
) -> tuple[Combination, dict[str, Any]]:
    """One run as a combination of one member, and its facts.

    Args:
        views: of a face, to average over.
        calibrate: fit a temperature, which moves probabilities and log-loss, not accuracy.
        dataset: the training's, on whose PublicTest what `views` and `calibrate` change is fitted and measured. With
            `calibrate` the metrics are cross-validated.

    Raises:
        TrainingError, ConfigError: the run is not finished or does not load, or `dataset` is another one.
    """
    facts: dict[str, Any] = {**load_facts(run)}
    member = Member(load_run(run), views=views)
    if dataset is None or not (calibrate or views != PLAIN):
        return Combination([member]), facts
    require_same_public_test([run], dataset.facts)
    (split,) = dataset.require("PublicTest")
    scores = member_scores([member], split)
    metrics, ece, temperature = score(scores[0], split.labels), reliability(scores[0], split.labels).ece, 1.0
    if calibrate:
        fitted = cross_validate(run.name, "soft", scores, split.labels)
        metrics, ece, temperature = fitted.metrics, fitted.ece, fitted.rule.temperature
        facts["folds"] = FOLDS
    facts |= {"views": views, "temperature": temperature, "PublicTest": metrics.to_json(), "ece": ece}
    return Combination([member], temperature), facts
