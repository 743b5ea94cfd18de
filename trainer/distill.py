"""A teacher's opinion of every training image, for a student to learn from (Hinton, Vinyals & Dean 2015).

The teacher sees each image once, as it is (and mirrored), before the training starts; every augmented view of the image
then shares that opinion. A teacher that saw each view would know what a rotation or an erased corner has hidden
(Beyer et al. 2022 find that it teaches better), but would have to be run in every step, which costs several times the
student's own training.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import CLASSES, normalize
from trainer.errors import ConfigError, TrainerError

_BATCH = 512

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Teacher:
    """What the teacher makes of the training images.

    Attributes:
        probabilities: float32 [N, 7], one row per training image; rows sum to 1.
        facts: JSON-able: which models it is made of (`sources`: path and sha256 of the weights) and `views`.
    """

    probabilities: NDArray[np.float32]
    facts: dict[str, Any]


def consult(paths: Sequence[Path], images: NDArray[np.uint8], views: int) -> Teacher:
    """Run the teacher on images uint8 [N, 48, 48]; several models' probabilities are averaged.

    Args:
        paths: run directories, or versions of SavedModels (these need TensorFlow).
        images: the training images.
        views: 1: as they are; 2: averaged with their mirrors.

    Raises:
        ConfigError: no path, or one that is neither.
        TrainerError: a model cannot be loaded.
    """
    if not paths:
        raise ConfigError("no teacher; give --teacher a run directory or a SavedModel's version directory")
    weights = [weights_file(path) for path in paths]
    total = np.zeros((len(images), len(CLASSES)), np.float32)
    for path in paths:
        score = _open(path)
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            total[start : start + _BATCH] += score(normalize(batch))
            if views == 2:
                total[start : start + _BATCH] += score(normalize(batch[:, :, ::-1]))
    sources = [
        {"path": str(path), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for path, file in zip(paths, weights, strict=True)
    ]
    return Teacher(total / np.float32(views * len(paths)), {"sources": sources, "views": views})


def soften(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """softmax(log p / T) row by row: what dividing the logits behind p by T gives. [N, C] -> [N, C]."""
    from trainer.metrics import softmax

    # Far below what a score in float32 tells apart; a logarithm of zero would be lost for good.
    logits: NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(1e-9)))
    return softmax(logits / np.float32(temperature))


def weights_file(path: Path) -> Path:
    """The file that tells one teacher from another.

    Raises:
        ConfigError: `path` is neither a finished run nor a SavedModel.
    """
    for name in ("best.weights.h5", "variables/variables.data-00000-of-00001"):
        if (path / name).is_file():
            return path / name
    raise ConfigError(f"{path}: neither a run directory with best.weights.h5 nor a SavedModel's version directory")


def _open(path: Path) -> Scorer:
    if (path / "saved_model.pb").is_file():
        from trainer.predictor import open_predictor

        return open_predictor(str(path)).scores
    from trainer.metrics import softmax
    from trainer.runs import load_run

    try:
        model = load_run(path)
    except TrainerError as error:
        raise ConfigError(f"teacher {error}") from error
    return lambda faces: softmax(model.predict(faces, batch_size=_BATCH, verbose=0))
