"""Probabilities over time, and a label that does not flicker."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

MARGIN = 0.1
"""By how much another emotion must be likelier than the one that is shown, to be shown in its place."""


@dataclass(slots=True)
class _State:
    classes: tuple[str, ...]
    values: list[float]
    best: int
    at: float


@dataclass(slots=True)
class Smoothing:
    """Exponential smoothing of each track: after `constant_s` a change is followed to 63 %, however many frames came.

    Args:
        constant_s: 0: none, and the label is the likeliest of each frame.
    """

    constant_s: float
    _states: dict[int, _State] = field(default_factory=dict)

    def add(
        self, track: int, classes: tuple[str, ...], probabilities: Sequence[float], now: float
    ) -> tuple[list[float], int]:
        """A face of a frame.

        Args:
            now: when the frame came, seconds.

        Returns:
            The smoothed probabilities, and the index of the emotion to show.
        """
        state = self._states.get(track)
        if state is None or state.classes != classes or not self.constant_s:
            values = list(probabilities)
            state = _State(classes, values, values.index(max(values)), now)
            self._states[track] = state
            return state.values, state.best
        part = 1 - math.exp(-max(0.0, now - state.at) / self.constant_s)
        state.values = [old + part * (new - old) for old, new in zip(state.values, probabilities, strict=True)]
        state.at = now
        likeliest = state.values.index(max(state.values))
        if state.values[likeliest] >= state.values[state.best] + MARGIN:
            state.best = likeliest
        return state.values, state.best

    def forget_all_but(self, tracks: set[int]) -> None:
        """Keep these tracks alone."""
        for track in self._states.keys() - tracks:
            del self._states[track]
