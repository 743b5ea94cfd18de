"""One training of a search: `python -m trainer.search.trial JOB.json`, in a process of its own.

A native crash, a leak or a hang of one architecture then costs one trial. The child writes a JSON line for each epoch,
{"epoch", "fold", "accuracy"}, and ends by itself when its parent is gone.
"""

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from trainer.data.split import Split
from trainer.errors import ConfigError, TrainerError
from trainer.files import replacing

UNUSABLE = 2
"""Exit status of a child that no architecture could have trained in: bad configuration, missing files or libraries."""


@dataclass(frozen=True)
class Job:
    """What a child needs to know."""

    # A `TrainConfig` as JSON.
    config: dict[str, Any]
    # Directory of the images (see `save_arrays`).
    arrays: str
    # The run's directory.
    directory: str
    # Share of the training images to use.
    share: float
    # 0 to train on Training and score on PublicTest; otherwise that many folds of Training.
    folds: int
    # Of the choice of images and folds.
    seed: int
    # CPU threads; 0 leaves them to the backend.
    threads: int

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def save_arrays(training: Split, validation: Split, directory: Path) -> None:
    """Keep the images as .npy files, which children map into memory instead of parsing the CSV again.

    A directory that has them all is left as it is.
    """
    complete = directory / "complete"
    if complete.exists():
        return
    for name, split in (("training", training), ("validation", validation)):
        for part, values in vars(split).items():
            if values is not None:
                with replacing(directory / f"{name}-{part}.npy") as partial:
                    np.save(partial, values)
    complete.touch()


def load_arrays(directory: Path) -> tuple[Split, Split]:
    """What `save_arrays` kept: Training and the validation split."""

    def split(name: str) -> Split:
        votes = directory / f"{name}-votes.npy"
        return Split(
            np.load(directory / f"{name}-images.npy", mmap_mode="r"),
            np.load(directory / f"{name}-labels.npy"),
            np.load(votes) if votes.is_file() else None,
        )

    return split("training"), split("validation")


def main() -> int:
    """Train the job named on the command line; a TrainerError is one line on standard error and exit status 1 or 2."""
    # The backend must not write to the stream that the parent reads as JSON.
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        _run(Job.read(Path(sys.argv[1])), reports)
    except (ConfigError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(job: Job, reports: TextIO) -> None:
    # Here, where what cannot be imported is told to the parent, and after the parent is watched.
    from rich.console import Console

    from trainer.evaluation.metrics import Metrics
    from trainer.training.config import TrainConfig
    from trainer.training.fit import fit

    _limit_threads(job.threads)
    config = TrainConfig.model_validate(job.config)
    training, validation = load_arrays(Path(job.arrays))
    console = Console(file=sys.stderr, width=160)
    if (images := round(job.share * len(training) * (1 - 1 / job.folds if job.folds else 1))) < config.batch_size:
        raise ConfigError(f"{images} training images a trial do not fill one batch of {config.batch_size}")
    for number, (train, held_out) in enumerate(parts_of(job, training, validation)):

        def report(epoch: int, metrics: Metrics, fold: int = number) -> None:
            print(json.dumps({"epoch": epoch, "fold": fold, "accuracy": metrics.accuracy}), file=reports, flush=True)

        fit(config, train, held_out, Path(job.directory) / f"fold{number}", {}, console, report=report)


def parts_of(job: Job, training: Split, validation: Split) -> list[tuple[Split, Split]]:
    """What to train on and what to score on: the job's share of the images, or its folds of it."""
    order = np.random.default_rng(job.seed).permutation(len(training))[: max(1, round(job.share * len(training)))]
    if not job.folds:
        return [(training.take(np.sort(order)), validation)]
    parts = np.array_split(order, job.folds)
    return [
        (training.take(np.sort(np.concatenate(parts[:i] + parts[i + 1 :]))), training.take(np.sort(parts[i])))
        for i in range(job.folds)
    ]


def _limit_threads(count: int) -> None:
    # After the parent is watched, as above; and of the backends the one in use alone.
    import keras

    if not count:
        return
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(count)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _die_with_parent() -> None:
    # The parent holds the other end of this pipe and never writes to it: it closes when the parent is gone.
    sys.stdin.buffer.read()
    os._exit(3)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # The interpreter's own end would unload the backend, which is a last chance to crash after all is done.
    os._exit(status)
