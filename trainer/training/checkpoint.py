"""A training that was killed goes on from the last epoch it finished: one file, replaced as a whole."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Split
from trainer.errors import ConfigError, TrainingError
from trainer.files import BROKEN_ARRAYS, open_arrays
from trainer.run_directory import CHECKPOINT, CONFIG, LOG, METRICS, TENSORBOARD, WEIGHTS

_MISSING = object()


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        identity: what the run computes: its config, and digests of data, first weights and teacher.
        epoch: the last finished one, 1-based.
        steps: of the optimiser, so far.
        best_epoch: the epoch with the best validation accuracy.
        best: its metrics, as `Metrics.to_json` gives them.
    """

    identity: dict[str, Any]
    epoch: int
    steps: int
    best_epoch: int
    best: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """`progress`, and the arrays to go on with: the model's variables, the optimiser's, and the averaged weights."""

    progress: Progress
    model: Sequence[NDArray[Any]]
    optimizer: Sequence[NDArray[Any]]
    average: Sequence[NDArray[np.float32]]


_GROUPS = ("model", "optimizer", "average")


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write `path` so that a reader, or a resumed run, finds the old checkpoint or the new one."""
    arrays = {
        f"{group}/{index:04}": array for group in _GROUPS for index, array in enumerate(getattr(checkpoint, group))
    }
    partial = path.with_name(f".partial-{path.name}")
    with partial.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(asdict(checkpoint.progress))), **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


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
    return Checkpoint(progress, **groups)


def claim(directory: Path, *, resume: bool, overwrite: bool) -> None:
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
        if (directory / name).exists():
            raise TrainingError(
                f"{directory} holds {state}; give --resume to go on, --overwrite to replace it, or another --out"
            )


def require_unfinished(directory: Path) -> None:
    """Refuse to start a run afresh where the results of another one are, whose checkpoint was deleted.

    Raises:
        TrainingError: names what is there.
    """
    for name in (METRICS, WEIGHTS):
        if (directory / name).exists():
            raise TrainingError(
                f"{directory} has {name} but no {CHECKPOINT} to go on from; give --overwrite to replace the run"
            )


def clear(directory: Path) -> None:
    """Remove what an earlier run left, and nothing else."""
    for name in (CHECKPOINT, CONFIG, LOG, METRICS, WEIGHTS):
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / TENSORBOARD, ignore_errors=True)


def check_same(path: Path, began: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with something else than what was begun.

    Raises:
        ConfigError: names the first key that differs.
    """
    before, after = _flat(began), _flat(now)
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, _MISSING), after.get(key, _MISSING)
        if old == new:
            continue
        if not key.startswith("config."):
            raise ConfigError(f"{path}: {key}: not the one that this run began with; resume with that, or start anew")
        values = ["absent" if value is _MISSING else repr(value) for value in (old, new)]
        raise ConfigError(
            f"{path}: {key.removeprefix('config.')}: was {values[0]} when this run began and is {values[1]} now; "
            "resume with the same, or start anew"
        )


def digest(*splits: Split) -> str:
    """sha256 over images, labels and votes, in order."""
    total = hashlib.sha256()
    for split in splits:
        for array in (split.images, split.labels, split.votes):
            if array is not None:
                total.update(f"{array.dtype}{array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
