"""How far two models' answers for the same faces are apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Comparison:
    """faces: how many; agreeing: how many with the same likeliest class; divergence: summed over the faces, bits."""

    faces: int
    agreeing: int
    divergence: float


def jensen_shannon(p: NDArray[np.float32], q: NDArray[np.float32]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence of each row, float64 [N], in bits: 0 for equal rows, 1 for disjoint ones.

    p, q: [N, C], rows adding up to 1. H((P + Q) / 2) - (H(P) + H(Q)) / 2 with H Shannon's entropy to base 2 (Lin,
    "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37(1), 1991, equation
    4.1 with both weights 1/2). It is symmetric and finite where a class has probability 0.
    """
    first, second = p.astype(np.float64), q.astype(np.float64)
    divergence = _entropy((first + second) / 2) - (_entropy(first) + _entropy(second)) / 2
    # Rounding may carry it past its ends.
    clipped: NDArray[np.float64] = np.clip(divergence, 0, 1)
    return clipped


def compare(
    classes: Sequence[str],
    probabilities: NDArray[np.float32],
    other_classes: Sequence[str],
    other: NDArray[np.float32],
) -> Comparison:
    """Two answers, [N, C] each, which may list their classes in different orders.

    Raises ValueError when they are not over the same classes.
    """
    if sorted(classes) != sorted(other_classes):
        raise ValueError(f"classes {', '.join(other_classes)} are not the classes {', '.join(classes)}")
    reordered = other[:, [other_classes.index(name) for name in classes]]
    agreeing = probabilities.argmax(axis=1) == reordered.argmax(axis=1)
    divergence = jensen_shannon(probabilities, reordered)
    return Comparison(len(probabilities), int(agreeing.sum()), float(divergence.sum()))


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # 0 * log 0 is 0, its limit.
    logarithms = np.log2(p, out=np.zeros_like(p), where=p > 0)
    entropy: NDArray[np.float64] = -(p * logarithms).sum(axis=1)
    return entropy
