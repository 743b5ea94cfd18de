"""What is served as one model: Keras models with weights, mirrored or not, and a temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.ensemble.weights import soft_vote, temper
from trainer.evaluation.metrics import softmax


@dataclass(frozen=True)
class Member:
    """One model of a combination.

    Attributes:
        model: faces float32 [N, 48, 48, 1] -> logits float32 [N, C], with a layer called `cam`.
        weight: its share of the combined scores.
        flip: its scores are the mean over the face and the mirrored face, at twice the cost.
    """

    model: keras.Model
    weight: float = 1.0
    flip: bool = False

    def scores(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """faces float32 [N, 48, 48, 1] -> scores float32 [N, C], rows summing to 1."""
        scores = softmax(self.model.predict(faces, batch_size=256, verbose=0))
        if self.flip:
            mirrored = softmax(self.model.predict(faces[:, :, ::-1], batch_size=256, verbose=0))
            scores = (scores + mirrored) * np.float32(0.5)
        return scores


@dataclass(frozen=True)
class Combination:
    """softmax(log(weighted mean of the members' scores) / temperature); weights sum to 1."""

    members: Sequence[Member]
    temperature: float = 1.0

    @property
    def parameters(self) -> int:
        """Parameters of all members together."""
        return sum(member.model.count_params() for member in self.members)

    def scores(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """faces float32 [N, 48, 48, 1] -> scores float32 [N, C], each member computed by Keras on its own."""
        weights = np.array([member.weight for member in self.members])
        mean = soft_vote(np.stack([member.scores(faces) for member in self.members]), weights)
        return temper(mean, self.temperature).astype(np.float32)
