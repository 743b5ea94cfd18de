"""What a training asks of a network for each face: the label's distribution and, with a teacher, the teacher's.

Keras hands a loss one array of targets. They are float32 [B, 7]; or [B, 14], the teacher's distribution beside the
label's. Only this file knows that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES
from trainer.data.split import Split
from trainer.errors import ConfigError
from trainer.networks.scores import temper, to_numpy


@dataclass(frozen=True)
class TeachingRun:
    """A run whose network is asked while the student trains."""

    directory: Path
    # Divides its logits.
    temperature: float
    # Of the whole opinion.
    share: float


@dataclass(frozen=True)
class Teacher:
    """What finished models make of the training images (Hinton, Vinyals & Dean 2015)."""

    # float32 [N, 7], a row for each training image; rows sum to 1, or to the share that `networks` leave.
    probabilities: NDArray[np.float32]
    # JSON-able: which models it is made of (`sources`: name, sha256 and temperature of each) and `views`.
    facts: dict[str, Any]
    # Those that are asked about each view instead of each image. Each has the same share of the whole opinion.
    networks: tuple[TeachingRun, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """What tells one teacher's opinions from another's, wherever its files lie."""
        sources = self.facts["sources"]
        return {
            "sha256": [source["sha256"] for source in sources],
            "temperatures": [source["temperature"] for source in sources],
            "views": self.facts["views"],
        }


def label_targets(split: Split, ferplus: float) -> NDArray[np.float32]:
    """A distribution over the classes for each face, float32 [N, 7].

    One-hot labels, of which the share `ferplus` gives way to the FER+ votes (Barsoum et al. 2016); and less of it where
    some of a face's votes went to none of the classes.

    Raises:
        ConfigError: votes are wanted and the data have none.
    """
    targets = np.eye(len(CLASSES), dtype=np.float32)[split.labels]
    if not ferplus:
        return targets
    if split.votes is None:
        raise ConfigError(
            f"ferplus: {ferplus:g} of the target is to be FER+ votes, and the data have none; give --votes"
        )
    share = np.float32(ferplus)
    mixed: NDArray[np.float32] = (1 - share * split.votes.sum(axis=1, keepdims=True)) * targets + share * split.votes
    return mixed


def beside(labels: NDArray[np.float32], teacher: Teacher, temperature: float) -> NDArray[np.float32]:
    """Targets [N, 14] of label targets [N, 7] and a teacher's probabilities, softened by the temperature.

    Where `Teacher.networks` have a share, the rest is left as it is: only a whole opinion can be softened.
    """
    opinion = teacher.probabilities if teacher.networks else to_numpy(temper(teacher.probabilities, temperature))
    return np.concatenate([labels, opinion], axis=1)


def labels_of(targets: Any) -> Any:
    """The labels' part of targets: [B, 7 or 14] -> [B, 7]."""
    return targets[:, : len(CLASSES)]


def teacher_of(targets: Any) -> Any:
    """The teacher's part of targets: [B, 14] -> [B, 7]."""
    return targets[:, len(CLASSES) :]


def class_weights(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse class frequencies float32 [7], scaled so that the mean over the faces is 1; 0 for an absent class."""
    mass = targets.sum(axis=0)
    present = mass > 0
    weights = np.zeros(targets.shape[1], np.float32)
    weights[present] = len(targets) / (present.sum() * mass[present])
    return weights
