"""Finished runs: what `train` left in a run directory."""

import json
from pathlib import Path
from typing import Any, TypedDict, cast

import keras

from trainer.checkpoint import METRICS
from trainer.config import load_config
from trainer.errors import TrainingError
from trainer.fit import load_weights
from trainer.models import build


class RunFacts(TypedDict):
    """A run's metrics.json; other keys may stand beside these.

    Attributes:
        epoch: 1-based epoch whose weights were kept.
        parameters: weights of the model, all kinds.
        PublicTest: `trainer.metrics.Metrics` as JSON.
        config: the effective `TrainConfig` as JSON.
        data: `trainer.data.Dataset.facts()`.
    """

    epoch: int
    parameters: int
    PublicTest: dict[str, Any]
    config: dict[str, Any]
    data: dict[str, Any]


def load_facts(directory: Path) -> RunFacts:
    """What a finished run wrote to metrics.json.

    Raises:
        TrainingError: the directory holds no finished run.
    """
    path = directory / METRICS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a finished run: {error}") from error
    if missing := RunFacts.__required_keys__ - set(facts if isinstance(facts, dict) else ()):
        raise TrainingError(f"{path}: not a finished run: lacks {', '.join(sorted(missing))}")
    return cast(RunFacts, facts)


def load_run(directory: Path) -> keras.Model:
    """A run's model with its best weights, in float32 whatever precision and backend trained it.

    Raises:
        ConfigError: the directory has no readable config.yaml, or no weights that fit the model it names.
    """
    config = load_config(directory / "config.yaml", [])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = build(config.model, config.model_args)
    finally:
        keras.config.set_dtype_policy(policy)
    load_weights(model, directory)
    return model
