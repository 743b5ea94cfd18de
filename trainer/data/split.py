"""Labelled faces in memory: what every reader of data returns and every training takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES

SPLITS = ("Training", "PublicTest", "PrivateTest")


@dataclass(frozen=True)
class Split:
    """Labelled faces."""

    # uint8 [N, 48, 48], grey levels 0 to 255.
    images: NDArray[np.uint8]
    # uint8 [N], indices into `CLASSES`.
    labels: NDArray[np.uint8]
    # float32 [N, 7], each class's share of a face's FER+ votes: a row sums to 1, or to less where some went to none of
    # our classes. None where no votes were given.
    votes: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self) -> dict[str, int]:
        """Number of faces of each class, in class order."""
        counts = np.bincount(self.labels, minlength=len(CLASSES))
        return dict(zip(CLASSES, map(int, counts), strict=True))

    def take(self, index: NDArray[Any]) -> "Split":
        """The faces at these positions, or those where a boolean mask [N] is true."""
        return Split(self.images[index], self.labels[index], None if self.votes is None else self.votes[index])

    @property
    def majority(self) -> NDArray[np.int64]:
        """int64 [N]: the class with more than half of a face's votes, the rule of FER+'s authors; -1: none has."""
        if self.votes is None:
            return np.full(len(self), -1, np.int64)
        return np.where(self.votes.max(axis=1) > 0.5, self.votes.argmax(axis=1), -1)


def divide(faces: Split, usage: NDArray[np.uint8]) -> dict[str, Split]:
    """The faces of a source by the name of their split, those with faces only, in the order of `SPLITS`.

    Args:
        usage: [N], an index into `SPLITS` for each face.
    """
    return {name: faces.take(mask) for index, name in enumerate(SPLITS) if (mask := usage == index).any()}


def concatenate(splits: Sequence[Split]) -> Split:
    """One split of them all, in order. Faces of a split without votes get none beside those that have some."""
    if len(splits) == 1:
        return splits[0]
    votes = None
    if any(split.votes is not None for split in splits):
        votes = np.concatenate(
            [np.zeros((len(s), len(CLASSES)), np.float32) if s.votes is None else s.votes for s in splits]
        )
    return Split(np.concatenate([s.images for s in splits]), np.concatenate([s.labels for s in splits]), votes)
