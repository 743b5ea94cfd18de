"""What teachers make of every training image, for a student to learn from (Hinton, Vinyals & Dean 2015).

A teacher sees each image once, as it is (and mirrored), before the training starts; every augmented view of the image
then shares that opinion. A run may be asked about each view instead (`distill.each_view`): it then knows what a
rotation or an erased corner has hidden (Beyer et al. 2022 find that it teaches better), and is run in every step.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES
from trainer.ensemble.combination import Combination, Member
from trainer.ensemble.opinions import read_opinions
from trainer.ensemble.saved import load_ensemble
from trainer.errors import ConfigError, TrainerError
from trainer.files import sha256
from trainer.networks.scores import FLIPPED, Scorer, over_views, temper, to_numpy
from trainer.run_directory import ENSEMBLE, WEIGHTS
from trainer.training.checkpoint import load_run
from trainer.training.targets import Teacher, TeachingRun


@dataclass(frozen=True)
class TeacherSource:
    """One teacher."""

    # Directory of a run or an ensemble, version of a SavedModel (which needs TensorFlow), or file of opinions.
    path: Path
    # Tells one teacher from another, see `identify`.
    sha256: str
    # Its logits are divided by this before all teachers' probabilities are averaged: above 1 for one that knows its
    # training images by heart, and so is too sure of them.
    temperature: float = 1.0


def parse_source(text: str) -> TeacherSource:
    """PATH or PATH:TEMPERATURE.

    Raises:
        ConfigError: the temperature is not a number above 0, or there is no teacher at the path.
    """
    path, colon, number = text.rpartition(":")
    if not colon or Path(text).exists():
        return TeacherSource(Path(text), identify(Path(text)))
    try:
        temperature = float(number)
    except ValueError:
        temperature = 0.0
    if not (0 < temperature < float("inf")):
        raise ConfigError(f"--teacher {text}: the temperature {number!r} is not a number above 0")
    return TeacherSource(Path(path), identify(Path(path)), temperature)


def consult(
    teachers: Sequence[TeacherSource], images: NDArray[np.uint8], views: int, *, each_view: bool = False
) -> Teacher:
    """Ask all teachers about images uint8 [N, 48, 48]; their probabilities are averaged.

    Args:
        teachers: one or more.
        images: the training images.
        views: 1: as they are; 2: averaged with their mirrors.
        each_view: leave those that are runs to be asked while the student trains.

    Raises:
        ConfigError: a teacher has no opinion of some images.
        TrainerError: a model cannot be loaded.
    """
    sources = [
        {"name": teacher.path.resolve().name, "sha256": teacher.sha256, "temperature": teacher.temperature}
        for teacher in teachers
    ]
    later = [teacher for teacher in teachers if each_view and (teacher.path / WEIGHTS).is_file()]
    total = np.zeros((len(images), len(CLASSES)), np.float32)
    for teacher in teachers:
        if teacher not in later:
            total += _ask(teacher, images, views)
    share = 1 / len(teachers)
    networks = tuple(TeachingRun(teacher.path, teacher.temperature, share) for teacher in later)
    return Teacher(total * np.float32(share), {"sources": sources, "views": views}, networks)


def identify(path: Path) -> str:
    """What tells one teacher from another: sha256 of its weights, hex; of an ensemble, of its description and members.

    Raises:
        ConfigError: `path` is no finished run, ensemble, SavedModel or file.
    """
    if path.is_file():
        return sha256(path)
    if (path / ENSEMBLE).is_file():
        text = (path / ENSEMBLE).read_bytes()
        members = [identify(path / run) for run in json.loads(text)["runs"]]
        return hashlib.sha256(text + "".join(members).encode()).hexdigest()
    for name in (WEIGHTS, "variables/variables.data-00000-of-00001"):
        if (path / name).is_file():
            return sha256(path / name)
    raise ConfigError(f"{path}: neither a run directory, nor an ensemble's, a SavedModel's version directory or a file")


def _ask(teacher: TeacherSource, images: NDArray[np.uint8], views: int) -> NDArray[np.float32]:
    if teacher.path.is_file():
        try:
            return read_opinions(teacher.path).probabilities(images, views, teacher.temperature)
        except ConfigError as error:
            raise ConfigError(f"teacher {teacher.path.name}: {error}") from error
    score = _open(teacher.path)

    def soft(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        return to_numpy(temper(score(faces), teacher.temperature))

    return over_views(soft, images, FLIPPED[:views])


def _open(path: Path) -> Scorer:
    if (path / "saved_model.pb").is_file():
        # A training on another backend may run where TensorFlow is not installed; only this teacher needs it.
        from trainer.evaluation.predictor import open_predictor

        return open_predictor(str(path)).scores
    if (path / ENSEMBLE).is_file():
        return load_ensemble(path)[0].scores
    try:
        return Combination([Member(load_run(path))]).scores
    except TrainerError as error:
        raise ConfigError(f"teacher {error}") from error
