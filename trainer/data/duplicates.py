"""The same image twice: FER2013 has copies within its splits and across them."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Split


def leaked(training: Split, held_out: Iterable[Split]) -> NDArray[np.bool_]:
    """bool [N]: which training images also stand, pixel for pixel, in a split that is held out."""
    known = {digest for split in held_out for digest in _digests(split)}
    return np.array([digest in known for digest in _digests(training)], np.bool_)


def _digests(split: Split) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in split.images]
