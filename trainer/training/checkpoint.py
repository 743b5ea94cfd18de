"""What a training keeps of its network: the checkpoint that a killed one goes on from, and the best weights.

Each is one file, replaced as a whole.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Split
from trainer.errors import ConfigError, TrainingError
from trainer.files import BROKEN_ARRAYS, open_arrays, replacing
from trainer.networks.networks import build, dtype_policy
from trainer.run_directory import CONFIG, WEIGHTS
from trainer.training.config import load_config


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    # What the run computes: its config, and digests of data, first weights and teacher.
    identity: dict[str, Any]
    # The last finished one, 1-based.
    epoch: int
    # Of the optimiser, so far.
    steps: int
    # The epoch with the best validation accuracy.
    best_epoch: int
    # Its metrics, `trainer.evaluation.metrics.Metrics` as JSON.
    best: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is, and the arrays to go on with."""

    progress: Progress
    # The model's variables.
    model: Sequence[NDArray[Any]]
    # The optimiser's.
    optimizer: Sequence[NDArray[Any]]
    # The averaged weights.
    average: Sequence[NDArray[np.float32]]
    # Those of the best epoch; none in a checkpoint of release 0.2.0 or before whose last epoch was not the best.
    best: Sequence[NDArray[np.float32]]


_GROUPS = ("model", "optimizer", "average", "best")


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint."""
    arrays = {
        f"{group}/{index:04}": array for group in _GROUPS for index, array in enumerate(getattr(checkpoint, group))
    }
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(asdict(checkpoint.progress))), **arrays)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> Checkpoint | None:
    """Read a checkpoint; None where there is none yet.

    Raises:
        TrainingError: the file is not a whole checkpoint.
    """
    try:
        with open_arrays(path) as file:
            progress = Progress(**json.loads(str(file["progress"])))
            groups = {
                group: [file[key] for key in sorted(file.files) if key.startswith(f"{group}/")] for group in _GROUPS
            }
    except FileNotFoundError:
        return None
    except (*BROKEN_ARRAYS, TypeError) as error:
        raise TrainingError(f"{path}: not a checkpoint: {error}") from error
    if not groups["best"] and progress.best_epoch == progress.epoch:
        groups["best"] = groups["average"]
    return Checkpoint(progress, **groups)


def require_same(path: Path, began: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with something else than what was begun.

    Args:
        began: the `Progress.identity` of the checkpoint at `path`.
        now: what is to go on.

    Raises:
        ConfigError: names the first key that differs.
    """
    before, after = _flat(began), _flat(now)
    for key in sorted(before.keys() | after.keys()):
        if key in before and key in after and before[key] == after[key]:
            continue
        if not key.startswith("config."):
            raise ConfigError(f"{path}: {key}: not the one that this run began with; resume with that, or start anew")
        old, new = (repr(values[key]) if key in values else "absent" for values in (before, after))
        raise ConfigError(
            f"{path}: {key.removeprefix('config.')}: was {old} when this run began and is {new} now; "
            "resume with the same, or start anew"
        )


def data_digest(*splits: Split) -> str:
    """sha256 over images, labels and votes, in order."""
    total = hashlib.sha256()
    for split in splits:
        for array in (split.images, split.labels, split.votes):
            if array is not None:
                total.update(f"{array.dtype}{array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def save_weights(model: keras.Model, run: Path) -> None:
    """Write a run's best weights."""
    with replacing(run / WEIGHTS) as partial:
        model.save_weights(partial)


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


def load_run(run: Path, precision: str = "float32") -> keras.Model:
    """A run's model with its best weights, computing in `precision` whatever precision and backend trained it.

    Raises:
        ConfigError: the directory has no readable config.yaml, or no weights that fit the model it names.
    """
    config = load_config(run / CONFIG, [])
    with dtype_policy(precision):
        model = build(config.model, config.model_args)
    load_weights(model, run)
    return model


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
