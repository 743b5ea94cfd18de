"""What is served as one model: networks with weights, the views that they see of a face, and a temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from faces.contract import SIDE
from trainer.networks.networks import CAM_LAYER
from trainer.networks.scores import PLAIN, apart, mean, show, temper


@dataclass(frozen=True)
class Member:
    """One network of a combination."""

    # Faces float32 [N, 48, 48, 1] -> logits float32 [N, C], with a layer called `cam`.
    model: keras.Model
    # Its share of the combined scores.
    weight: float = 1.0
    # Names in `trainer.networks.scores.VIEWS`. Its scores are the mean over them; each costs a pass.
    views: tuple[str, ...] = PLAIN


@dataclass(frozen=True)
class Combination:
    """softmax(log(weighted mean of the members' scores) / temperature)."""

    # Their weights sum to 1.
    members: Sequence[Member]
    temperature: float = 1.0
    # Under this confidence an answer is unclear (`trainer.evaluation.robustness`); None where that was not measured.
    unclear_below: float | None = None

    @property
    def parameters(self) -> int:
        """Parameters of all members together."""
        return sum(member.model.count_params() for member in self.members)

    @cached_property
    def network(self) -> keras.Model:
        """All of it as one network: what is calibrated, evaluated and exported.

        Faces [N, 48, 48, 1] -> a dictionary of `scores` [N, C]; and a list for the members of `logits` [V, N, C], by
        view, and of `maps` [V * N, h, w, k], the outputs of `cam`.
        """
        faces = keras.Input((SIDE, SIDE, 1), name="faces")
        logits, maps = [], []
        for index, member in enumerate(self.members):
            cam = member.model.get_layer(CAM_LAYER).output
            network = keras.Model(member.model.input, [cam, member.model.output], name=f"member{index}")
            found, answers = network(show(faces, member.views))
            maps.append(found)
            logits.append(apart(answers, member.views))
        scores = ops.stack([ops.mean(ops.softmax(each), axis=0) for each in logits])
        weights = np.array([member.weight for member in self.members], np.float32)
        combined = temper(mean(scores, weights), self.temperature)
        return keras.Model(faces, {"scores": combined, "logits": logits, "maps": maps})

    @cached_property
    def _scorer(self) -> keras.Model:
        return keras.Model(self.network.input, self.network.output["scores"])

    def scores(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """Faces float32 [N, 48, 48, 1] -> scores float32 [N, C], rows summing to 1."""
        scores: NDArray[np.float32] = self._scorer.predict(faces, batch_size=256, verbose=0)
        return scores
