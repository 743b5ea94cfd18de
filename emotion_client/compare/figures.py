"""Agreement, accuracy and McNemar's test."""

from collections import Counter
from dataclasses import dataclass, field
from math import comb
from typing import Any


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value of McNemar's test.

    Args:
        only_a: photos that A alone got right.
        only_b: photos that B alone got right.
    """
    cases = only_a + only_b
    tail = sum(comb(cases, right) for right in range(min(only_a, only_b) + 1))
    return min(1.0, float(2 * tail / 2**cases))


@dataclass
class Figures:
    """Counts of what both said, face by face, and photo by photo where the truth is known."""

    photos: int = 0
    # Photos in which no face was found.
    empty: int = 0
    faces: int = 0
    agreed: int = 0
    # Faces that one of both alone was asked about: their photos were not searched alike.
    unmatched: int = 0
    # (what A said, what B said) of faces where they differ.
    differences: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Photos with a known emotion and a face: how many, and who was right.
    labelled: int = 0
    right_a: int = 0
    right_b: int = 0
    only_a: int = 0
    only_b: int = 0

    def add_face(self, a: str, b: str) -> None:
        """What both said of a face."""
        self.faces += 1
        self.agreed += a == b
        if a != b:
            self.differences[a, b] += 1

    def add_labelled(self, truth: str, a: str, b: str) -> None:
        """What both said of the largest face of a photo whose emotion is known."""
        self.labelled += 1
        self.right_a += a == truth
        self.right_b += b == truth
        self.only_a += a == truth != b
        self.only_b += b == truth != a

    def as_json(self) -> dict[str, Any]:
        """For machines; rates are null where there is nothing to divide by."""
        accuracy = None
        if self.labelled:
            accuracy = {
                "photos": self.labelled,
                "a": self.right_a / self.labelled,
                "b": self.right_b / self.labelled,
                "only_a_right": self.only_a,
                "only_b_right": self.only_b,
                "p_value": mcnemar(self.only_a, self.only_b),
            }
        return {
            "photos": self.photos,
            "photos_without_a_face": self.empty,
            "faces": self.faces,
            "faces_of_one_alone": self.unmatched,
            "agreed": self.agreed,
            "agreement": self.agreed / self.faces if self.faces else None,
            "differences": [{"a": a, "b": b, "faces": count} for (a, b), count in self.differences.most_common()],
            "accuracy": accuracy,
        }
