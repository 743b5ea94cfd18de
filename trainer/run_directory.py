"""A run directory: the files in it, who may write there, and what a finished run left."""

import json
import shutil
from pathlib import Path
from typing import Any, TypedDict, cast

from trainer.errors import ConfigError, TrainingError

CHECKPOINT = "checkpoint.npz"
CONFIG = "config.yaml"
ENSEMBLE = "ensemble.json"
LOG = "log.csv"
METRICS = "metrics.json"
TENSORBOARD = "tensorboard"
WEIGHTS = "best.weights.h5"


class RunFacts(TypedDict):
    """A run's metrics.json; other keys may stand beside these."""

    # 1-based epoch whose weights were kept.
    epoch: int
    # Weights of the model, all kinds.
    parameters: int
    # `trainer.evaluation.metrics.Metrics` as JSON.
    PublicTest: dict[str, Any]
    # The effective `TrainConfig` as JSON.
    config: dict[str, Any]
    # `trainer.data.dataset.Dataset.facts`.
    data: dict[str, Any]


def load_facts(run: Path) -> RunFacts:
    """What a finished run wrote to metrics.json.

    Raises:
        TrainingError: the directory holds no finished run.
    """
    path = run / METRICS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a finished run: {error}") from error
    if missing := RunFacts.__required_keys__ - set(facts if isinstance(facts, dict) else ()):
        raise TrainingError(f"{path}: not a finished run: lacks {', '.join(sorted(missing))}")
    return cast(RunFacts, facts)


def require_unclaimed(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to write over a run that the user did not offer up.

    Raises:
        ConfigError: both were asked for.
        TrainingError: the directory holds a begun or finished run, and neither was.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    if resume or overwrite:
        return
    for name, state in ((METRICS, "a finished run"), (CHECKPOINT, "a begun run"), (CONFIG, "a begun run")):
        if (run / name).exists():
            raise TrainingError(
                f"{run} holds {state}; give --resume to go on, --overwrite to replace it, or another --out"
            )


def require_unfinished(run: Path) -> None:
    """Refuse to start a run afresh where the results of another one are, whose checkpoint was deleted.

    Raises:
        TrainingError: names what is there.
    """
    for name in (METRICS, WEIGHTS):
        if (run / name).exists():
            raise TrainingError(
                f"{run} has {name} but no {CHECKPOINT} to go on from; give --overwrite to replace the run"
            )


def clear(run: Path) -> None:
    """Remove what an earlier run left, and nothing else."""
    for name in (CHECKPOINT, CONFIG, LOG, METRICS, WEIGHTS):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / TENSORBOARD, ignore_errors=True)
