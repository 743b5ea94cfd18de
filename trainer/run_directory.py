"""A run directory: the files in it, and what a finished run left there."""

import json
import warnings
from pathlib import Path
from typing import Any, TypedDict, cast

import keras

from trainer.errors import ConfigError, TrainingError
from trainer.networks.networks import build
from trainer.training.config import load_config

CHECKPOINT = "checkpoint.npz"
CONFIG = "config.yaml"
ENSEMBLE = "ensemble.json"
LOG = "log.csv"
METRICS = "metrics.json"
TENSORBOARD = "tensorboard"
WEIGHTS = "best.weights.h5"


class RunFacts(TypedDict):
    """A run's metrics.json; other keys may stand beside these.

    Attributes:
        epoch: 1-based epoch whose weights were kept.
        parameters: weights of the model, all kinds.
        PublicTest: `trainer.evaluation.metrics.Metrics` as JSON.
        config: the effective `TrainConfig` as JSON.
        data: `trainer.data.dataset.Dataset.facts()`.
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
    config = load_config(directory / CONFIG, [])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        model = build(config.model, config.model_args)
    finally:
        keras.config.set_dtype_policy(policy)
    load_weights(model, directory)
    return model


def load_weights(model: keras.Model, run: Path) -> None:
    """Load a run's best weights into a model built as the run's was.

    Raises:
        ConfigError: the run has no weights, or not this model's.
    """
    path = run / WEIGHTS
    try:
        with warnings.catch_warnings():
            # Keras only warns where a file has nothing for some of the layers, and leaves them random.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise ConfigError(f"{path}: cannot be loaded into {model.name}: {error}") from error


def save_weights(model: keras.Model, path: Path) -> None:
    """Write the weights so that a reader finds the old file or the new one, never half of it."""
    partial = path.with_name(f".partial-{path.name}")
    model.save_weights(partial)
    partial.replace(path)
