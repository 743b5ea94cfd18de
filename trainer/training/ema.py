"""The exponential moving average of a model's weights, which generalises better than the last step's."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.networks.scores import to_numpy


class Average:
    """Averages all weights, the running statistics of batch normalisation among them, on the host.

    The decay ramps up, min(decay, (1 + t) / (10 + t)) after t steps, so that early epochs are not weighed down by the
    random weights from the start. Keras's own average does neither.

    Args:
        weights: `model.weights`.
        decay: share of the old average that a step keeps; 0: the average is the last step's weights.
        values: an average to go on from, in the order of `weights`.
        steps: the number of steps behind it.
    """

    EVERY = 4
    """Steps between two updates, which apply as much decay as that many single ones. Neighbouring steps hardly
    differ, and reading the weights from a device costs."""

    def __init__(
        self,
        weights: Sequence[keras.Variable],
        decay: float,
        values: Sequence[NDArray[np.float32]] | None = None,
        steps: int = 0,
    ) -> None:
        self._weights = weights
        self._decay = decay
        self._pending = 0
        self.steps = steps
        source = weights if values is None else values
        self.values: list[NDArray[np.float32]] = [np.array(to_numpy(value), dtype=np.float32) for value in source]

    def step(self) -> bool:
        """Count a step of the optimiser; true when `update` is due."""
        self._pending += 1
        return self._decay > 0 and self._pending >= self.EVERY

    def update(self) -> None:
        """Let the steps since the last update count. Idempotent between steps."""
        if not self._pending:
            return
        ramp = (1 + self.steps) / (10 + self.steps)
        keep = np.float32(min(self._decay, ramp) ** self._pending)
        for value, weight in zip(self.values, self._weights, strict=True):
            change = to_numpy(weight) - value
            change *= 1 - keep
            value += change
        self.steps += self._pending
        self._pending = 0
