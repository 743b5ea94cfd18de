"""A teacher's opinion of every training image, for a student to learn from (Hinton, Vinyals & Dean 2015).

The teacher sees each image once, as it is (and mirrored), before the training starts; every augmented view of the image
then shares that opinion. A teacher that saw each view would know what a rotation or an erased corner has hidden
(Beyer et al. 2022 find that it teaches better), but would have to be run in every step, which costs several times the
student's own training.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES, to_input
from trainer.errors import ConfigError, TrainerError
from trainer.run_directory import ENSEMBLE, WEIGHTS

_BATCH = 512

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Teacher:
    """What the teacher makes of the training images.

    Attributes:
        probabilities: float32 [N, 7], one row per training image; rows sum to 1.
        facts: JSON-able: which models it is made of (`sources`: name and sha256 of each, see `digest`) and `views`.
    """

    probabilities: NDArray[np.float32]
    facts: dict[str, Any]


def consult(paths: Sequence[Path], images: NDArray[np.uint8], views: int) -> Teacher:
    """Run the teacher on images uint8 [N, 48, 48]; several models' probabilities are averaged.

    Args:
        paths: directories of runs or ensembles, or versions of SavedModels (these need TensorFlow).
        images: the training images.
        views: 1: as they are; 2: averaged with their mirrors.

    Raises:
        ConfigError: no path, or one that is neither.
        TrainerError: a model cannot be loaded.
    """
    if not paths:
        raise ConfigError("no teacher; give --teacher a run directory or a SavedModel's version directory")
    sources = [{"name": path.resolve().name, "sha256": digest(path)} for path in paths]
    total = np.zeros((len(images), len(CLASSES)), np.float32)
    for path in paths:
        score = _open(path)
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            total[start : start + _BATCH] += score(to_input(batch))
            if views == 2:
                total[start : start + _BATCH] += score(to_input(batch[:, :, ::-1]))
    return Teacher(total / np.float32(views * len(paths)), {"sources": sources, "views": views})


def identity(teacher: Teacher) -> dict[str, Any]:
    """What tells one teacher's opinions from another's, wherever its files lie."""
    return {"sha256": [source["sha256"] for source in teacher.facts["sources"]], "views": teacher.facts["views"]}


def soften(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """softmax(log p / T) row by row: what dividing the logits behind p by T gives. [N, C] -> [N, C]."""
    from trainer.evaluation.metrics import softmax

    # Far below what a score in float32 tells apart; a logarithm of zero would be lost for good.
    logits: NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(1e-9)))
    return softmax(logits / np.float32(temperature))


def digest(path: Path) -> str:
    """Tells one teacher from another: sha256 of its weights, hex; an ensemble's is of its description and its members.

    Raises:
        ConfigError: `path` is no finished run, ensemble or SavedModel.
    """
    if (path / ENSEMBLE).is_file():
        text = (path / ENSEMBLE).read_bytes()
        members = [digest(path / run) for run in json.loads(text)["runs"]]
        return hashlib.sha256(text + "".join(members).encode()).hexdigest()
    for name in (WEIGHTS, "variables/variables.data-00000-of-00001"):
        if (path / name).is_file():
            return hashlib.sha256((path / name).read_bytes()).hexdigest()
    raise ConfigError(f"{path}: neither a run directory, nor an ensemble's, nor a SavedModel's version directory")


def _open(path: Path) -> Scorer:
    if (path / "saved_model.pb").is_file():
        from trainer.evaluation.predictor import open_predictor

        return open_predictor(str(path)).scores
    if (path / ENSEMBLE).is_file():
        from trainer.ensemble.fit import load_ensemble

        return load_ensemble(path)[0].scores
    from trainer.evaluation.metrics import softmax
    from trainer.run_directory import load_run

    try:
        model = load_run(path)
    except TrainerError as error:
        raise ConfigError(f"teacher {error}") from error
    return lambda faces: softmax(model.predict(faces, batch_size=_BATCH, verbose=0))
