"""Opinions of Training's faces by networks that were not trained on them.

What a network makes of a face that it was trained on is half remembered: too sure, and right even where the label is
wrong. Each face is asked of the one of K networks whose fold it was left out of (cross-fitting), so that the opinion is
what the label would be expected to be, and tells which labels to doubt.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from faces.contract import CLASSES, to_input
from trainer.data.split import Split
from trainer.ensemble.opinions import Opinions, digests
from trainer.errors import ConfigError
from trainer.networks.scores import to_numpy
from trainer.training.config import TrainConfig
from trainer.training.fit import fit
from trainer.training.targets import Teacher

Teach = Callable[[NDArray[np.uint8]], Teacher | None]
"""The teacher of these images uint8 [N, 48, 48]; None: there is none."""


def folds(images: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, [N]; copies of an image, pixel for pixel, are in the same one.

    Raises:
        ConfigError: there are fewer different images than folds.
    """
    _, copy_of = np.unique(digests(images), return_inverse=True)
    different = int(copy_of.max()) + 1 if len(copy_of) else 0
    if different < count:
        raise ConfigError(f"{different} different images do not make {count} folds")
    fold = np.random.default_rng(seed).permutation(different) % count
    chosen: NDArray[np.int64] = fold[copy_of]
    return chosen


def cross_fit(
    config: TrainConfig,
    training: Split,
    validation: Split,
    directory: Path,
    teach: Teach,
    console: Console,
    *,
    count: int = 5,
    only: Sequence[int] | None = None,
) -> Opinions | None:
    """Train a network for each fold on the other folds, and ask it about its own, clean and mirrored.

    The runs lie in `directory`/fold0, fold1 ...; those that are finished are not trained again, and one that was
    interrupted goes on.

    Args:
        config: of every fold's training.
        validation: the faces that each run's best epoch is selected on.
        teach: called with the images of a fold's training.
        count: of the folds.
        only: train these folds alone.

    Returns:
        Opinions of all training faces in their order; None where folds were left out.

    Raises:
        ConfigError, TrainingError: as `fit`.
    """
    fold_of = folds(training.images, count, config.seed)
    logits = np.empty((len(training), 2, len(CLASSES)), np.float16)
    for fold in range(count):
        if only is not None and fold not in only:
            continue
        inside = fold_of == fold
        rest = training.take(~inside)
        console.print(f"fold {fold + 1} of {count}: {len(rest):,} faces", highlight=False)
        result = fit(
            config,
            rest,
            validation,
            directory / f"fold{fold}",
            _facts(fold, count),
            console,
            resume=True,
            teacher=teach(rest.images),
        )
        own = training.images[inside]
        for view, images in enumerate((own, own[:, :, ::-1])):
            logits[inside, view] = _logits(result.model, images)
    return None if only is not None else Opinions(logits, digests(training.images))


def _facts(fold: int, count: int) -> dict[str, Any]:
    return {"fold": {"left_out": fold, "of": count}}


def _logits(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return to_numpy(model.predict(to_input(np.ascontiguousarray(images)), batch_size=256, verbose=0))
