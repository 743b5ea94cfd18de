"""What teachers make of every training image, for a student to learn from (Hinton, Vinyals & Dean 2015).

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
from trainer.ensemble.opinions import read_opinions
from trainer.errors import ConfigError, TrainerError
from trainer.run_directory import ENSEMBLE, WEIGHTS

_BATCH = 512

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Teacher:
    """What the teacher makes of the training images.

    Attributes:
        probabilities: float32 [N, 7], one row per training image; rows sum to 1.
        facts: JSON-able: which models it is made of (`sources`: name, sha256, see `digest`, and temperature of each)
            and `views`.
    """

    probabilities: NDArray[np.float32]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One teacher.

    Attributes:
        path: directory of a run or an ensemble, version of a SavedModel (which needs TensorFlow), or file of opinions
            (`trainer.ensemble.opinions`).
        temperature: its logits are divided by this before all teachers' probabilities are averaged: above 1 for one
            that knows its training images by heart, and so is too sure of them.
    """

    path: Path
    temperature: float = 1.0


def parse_source(text: str) -> Source:
    """PATH or PATH:TEMPERATURE.

    Raises:
        ConfigError: the temperature is not a number above 0.
    """
    path, colon, number = text.rpartition(":")
    if not colon or Path(text).exists():
        return Source(Path(text))
    try:
        temperature = float(number)
    except ValueError:
        temperature = 0.0
    if not (0 < temperature < float("inf")):
        raise ConfigError(f"--teacher {text}: the temperature {number!r} is not a number above 0")
    return Source(Path(path), temperature)


def consult(teachers: Sequence[Source], images: NDArray[np.uint8], views: int) -> Teacher:
    """Ask all teachers about images uint8 [N, 48, 48]; their probabilities are averaged.

    Args:
        images: the training images.
        views: 1: as they are; 2: averaged with their mirrors.

    Raises:
        ConfigError: no teacher, one that is none of these, or one without an opinion of some images.
        TrainerError: a model cannot be loaded.
    """
    if not teachers:
        raise ConfigError("no teacher; give --teacher a run directory, a SavedModel's version directory or opinions")
    sources = [
        {"name": teacher.path.resolve().name, "sha256": digest(teacher.path), "temperature": teacher.temperature}
        for teacher in teachers
    ]
    total = np.zeros((len(images), len(CLASSES)), np.float32)
    for teacher in teachers:
        if teacher.path.is_file():
            try:
                total += read_opinions(teacher.path).probabilities(images, views, teacher.temperature)
            except ConfigError as error:
                raise ConfigError(f"teacher {teacher.path.name}: {error}") from error
            continue
        score = _open(teacher.path)
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            for view in (batch, batch[:, :, ::-1])[:views]:
                scores = soften(score(to_input(view)), teacher.temperature)
                total[start : start + _BATCH] += scores / np.float32(views)
    return Teacher(total / np.float32(len(teachers)), {"sources": sources, "views": views})


def identity(teacher: Teacher) -> dict[str, Any]:
    """What tells one teacher's opinions from another's, wherever its files lie."""
    sources = teacher.facts["sources"]
    return {
        "sha256": [source["sha256"] for source in sources],
        "temperatures": [source["temperature"] for source in sources],
        "views": teacher.facts["views"],
    }


def soften(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """softmax(log p / T) row by row: what dividing the logits behind p by T gives. [N, C] -> [N, C]."""
    from trainer.evaluation.metrics import softmax

    # Far below what a score in float32 tells apart; a logarithm of zero would be lost for good.
    logits: NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(1e-9)))
    return softmax(logits / np.float32(temperature))


def digest(path: Path) -> str:
    """Tells one teacher from another: sha256 of its weights, hex; an ensemble's is of its description and its members.

    Raises:
        ConfigError: `path` is no finished run, ensemble, SavedModel or file.
    """
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if (path / ENSEMBLE).is_file():
        text = (path / ENSEMBLE).read_bytes()
        members = [digest(path / run) for run in json.loads(text)["runs"]]
        return hashlib.sha256(text + "".join(members).encode()).hexdigest()
    for name in (WEIGHTS, "variables/variables.data-00000-of-00001"):
        if (path / name).is_file():
            return hashlib.sha256((path / name).read_bytes()).hexdigest()
    raise ConfigError(f"{path}: neither a run directory, nor an ensemble's, a SavedModel's version directory or a file")


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
