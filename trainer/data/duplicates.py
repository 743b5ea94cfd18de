"""The same image twice: FER2013 has copies within its splits and across them, some with another label."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Split


@dataclass(frozen=True)
class Duplicates:
    """Images that are equal pixel for pixel."""

    # Per split, images that repeat an earlier one of the same split.
    within: dict[str, int]
    # Per pair of splits, images of the first that also stand in the second.
    across: dict[tuple[str, str], int]
    # Per split, images that have a copy, in any split, with another label.
    relabelled: dict[str, int]


def find_duplicates(splits: Mapping[str, Split]) -> Duplicates:
    """Count the copies within and across splits."""
    prints = {name: fingerprints(split.images) for name, split in splits.items()}
    distinct = {name: set(found) for name, found in prints.items()}
    labels: dict[bytes, set[int]] = {}
    for name, split in splits.items():
        for key, label in zip(prints[name], split.labels.tolist(), strict=True):
            labels.setdefault(key, set()).add(label)
    return Duplicates(
        within={name: len(found) - len(distinct[name]) for name, found in prints.items()},
        across={(a, b): sum(key in distinct[b] for key in prints[a]) for a in prints for b in prints if a != b},
        relabelled={name: sum(len(labels[key]) > 1 for key in found) for name, found in prints.items()},
    )


def leaked(training: Split, held_out: Iterable[Split]) -> NDArray[np.bool_]:
    """bool [N]: which training images also stand, pixel for pixel, in a split that is held out."""
    known: set[bytes] = set()
    known.update(*(fingerprints(split.images) for split in held_out))
    return np.array([key in known for key in fingerprints(training.images)], np.bool_)


def fingerprints(images: NDArray[np.uint8]) -> list[bytes]:
    """A 128-bit BLAKE2 digest of each image's pixels: uint8 [N, H, W] -> N digests."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
