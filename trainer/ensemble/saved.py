"""Combinations on disk: an ensemble's ensemble.json, written and read back, and a single run."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer.data.dataset import Dataset
from trainer.ensemble.combination import Combination, Member
from trainer.ensemble.cross_validation import FOLDS, Candidate, Method, cross_validate, member_scores
from trainer.errors import ConfigError, TrainingError
from trainer.evaluation.metrics import reliability, score
from trainer.evaluation.robustness import measure_robustness
from trainer.files import write_json
from trainer.networks.scores import FLIPPED, PLAIN
from trainer.run_directory import ENSEMBLE, load_facts
from trainer.training.checkpoint import load_run


def save_ensemble(
    directory: Path,
    runs: Sequence[Path],
    method: Method,
    candidates: Mapping[Method, Candidate],
    *,
    views: Sequence[Sequence[str]],
    data: Mapping[str, Any],
) -> None:
    """Write `ensemble.json`: the members with a weight above 0, their facts, and every method's figures.

    Args:
        directory: made if it does not exist.
        runs: the run directories, in the order of the scores that `candidates` were computed from.
        method: the one to export; not the hard vote.
        views: of each run, what its scores were averaged over.
        data: `Dataset.facts` of the faces that the weights were fitted on.
    """
    chosen = candidates[method]
    assert chosen.rule.weights is not None
    kept = [each for each in zip(runs, map(float, chosen.rule.weights), views, strict=True) if each[1] > 0]
    members: list[dict[str, Any]] = [
        {"name": run.name, "weight": weight, **load_facts(run), "views": list(seen)} for run, weight, seen in kept
    ]
    summary = {
        "runs": [os.path.relpath(run, directory) for run, _, _ in kept],
        "method": method,
        "temperature": chosen.rule.temperature,
        "folds": FOLDS,
        "parameters": sum(member["parameters"] for member in members),
        "PublicTest": asdict(chosen.metrics),
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
        # One written before members had views of their own has those of all, or says whether it flips.
        common = facts.pop("views", FLIPPED if facts.pop("flip", False) else PLAIN)
        for member in facts["members"]:
            member.setdefault("views", list(common))
        views = [tuple(member["views"]) for member in facts["members"]]
        temperature = facts["temperature"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: not an ensemble: {error}") from error
    members = [Member(load_run(run), *each) for run, *each in zip(runs, weights, views, strict=True)]
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
    facts |= {"views": views, "temperature": temperature, "PublicTest": asdict(metrics), "ece": ece}
    return Combination([member], temperature), facts


def with_robustness(
    combination: Combination,
    facts: Mapping[str, Any],
    run: Path,
    dataset: Dataset,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Combination, dict[str, Any]]:
    """The combination with `unclear_below`, and its facts with `robustness`, both measured on PublicTest.

    Args:
        run: the run's or the ensemble's directory.
        dataset: the training's.
        tell: is called with each condition's name before it is measured.

    Raises:
        ConfigError: `dataset` has another PublicTest than the training had.
    """
    if "members" in facts:
        members = json.loads((run / ENSEMBLE).read_text(encoding="utf-8"))["runs"]
        require_same_public_test([run / member for member in members], dataset.facts)
    else:
        require_same_public_test([run], dataset.facts)
    (split,) = dataset.require("PublicTest")
    found = measure_robustness(combination.scores, split, tell=tell)
    return replace(combination, unclear_below=found.unclear_below), {**facts, "robustness": found.to_json()}
