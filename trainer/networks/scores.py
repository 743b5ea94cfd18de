"""From logits to scores: views of a face, the weighted mean of several networks, and a temperature.

This is the one place of the formula. It is written in keras.ops, so that a graph which is exported and arrays on which
weights are fitted go through the same code, on any backend.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from faces.contract import to_input

CHUNK = 1024
"""Faces that a finished model is given at once: as float32 all of a split would fill the memory."""

# Keeps logarithms finite: the smallest float32 that is not denormal.
TINY = float(np.finfo(np.float32).tiny)

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Faces float32 [N, 48, 48, 1] -> scores float32 [N, C], rows summing to 1."""


class View(NamedTuple):
    """A way to show a face to a network."""

    # [N, 48, 48, 1] -> the same shape, as the network sees it.
    show: Callable[[Any], Any]
    # A map of what the network saw, [N, 48, 48], laid back on the face.
    restore: Callable[[Any], Any]


def _same(images: Any) -> Any:
    return images


def _mirror(images: Any) -> Any:
    return ops.flip(images, axis=2)


VIEWS = {"plain": View(_same, _same), "mirrored": View(_mirror, _mirror)}
PLAIN = ("plain",)
FLIPPED = ("plain", "mirrored")


def show(faces: Any, views: Sequence[str]) -> Any:
    """The views of all faces, one after the other: [N, 48, 48, 1] -> [V * N, 48, 48, 1]."""
    return ops.concatenate([VIEWS[view].show(faces) for view in views])


def apart(values: Any, views: Sequence[str]) -> Any:
    """What a network made of `show`, by view: [V * N, ...] -> [V, N, ...]."""
    return ops.reshape(values, (len(views), -1, *values.shape[1:]))


def mean(values: Any, weights: Any) -> Any:
    """The weighted mean over the first axis: [M, N, C] and weights [M], which sum to 1 -> [N, C]."""
    return ops.sum(ops.multiply(values, weights[:, None, None]), axis=0)


def temper(scores: Any, temperature: float) -> Any:
    """softmax(log(scores) / temperature), [N, C] -> [N, C]; for one network, its logits divided by the temperature."""
    return ops.softmax(ops.log(ops.maximum(scores, TINY)) / temperature)


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Scores of logits in memory, over the last axis: [..., C] -> [..., C]."""
    return to_numpy(ops.softmax(logits / np.float32(temperature)))


def over_views(score: Scorer, images: NDArray[np.uint8], views: Sequence[str]) -> NDArray[np.float32]:
    """A finished model's scores of images uint8 [N, 48, 48], each the mean over views of the face: float32 [N, C]."""
    parts = []
    for start in range(0, len(images), CHUNK):
        faces = to_input(images[start : start + CHUNK])
        shown = (np.ascontiguousarray(to_numpy(VIEWS[view].show(faces))) for view in views)
        parts.append(np.mean([score(each) for each in shown], axis=0, dtype=np.float32))
    return np.concatenate(parts)


def to_numpy(values: Any) -> NDArray[Any]:
    """An array of whatever the backend computed."""
    array: NDArray[Any] = keras.ops.convert_to_numpy(values)
    return array
