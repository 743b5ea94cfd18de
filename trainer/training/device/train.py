"""The epochs of a training on a device."""

from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.split import Split
from trainer.training.callbacks import Epochs
from trainer.training.checkpoint import Checkpoint
from trainer.training.config import TrainConfig
from trainer.training.device.steps import Steps
from trainer.training.targets import Teacher

SAVE_S = 30.0
"""Seconds between two checkpoints: an epoch may take less than writing one."""


class DeviceTraining:
    """A `trainer.training.callbacks.Trainee` whose steps are a device's.

    Args:
        model: built and initialised, with the precision of the training.
        split: the training faces.
        config: of the training.
        teacher: of these faces.
        saved: where an interrupted run was.

    Raises:
        ConfigError: the config asks for what only the host's feed has.
    """

    def __init__(
        self, model: keras.Model, split: Split, config: TrainConfig, teacher: Teacher | None, saved: Checkpoint | None
    ) -> None:
        self._config = config
        self._steps = Steps(model, split, config, teacher)
        self._faces: torch.Tensor | None = None
        self.batches = self._steps.count
        self.steps = saved.progress.steps if saved else 0
        if saved:
            self._steps.restore(saved.model, saved.optimizer, saved.average, self.steps)

    def run(self, epochs: Epochs) -> None:
        """Train to the last epoch, or until it fails or patience ends."""
        for epoch in range(epochs.first, self._config.epochs):
            if epochs.ended:
                return
            epochs.begin(epoch)
            loss, accuracy = self._steps.run(epoch)
            self.steps += self.batches
            epochs.advance(self.batches)
            epochs.end(epoch, loss, accuracy, self)

    def rate(self, epoch: int) -> float:
        return self._steps.rate(epoch)

    def average(self) -> list[NDArray[np.float32]]:
        return self._steps.average()

    def variables(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        return self._steps.variables()

    def score(self, averaged: keras.Model, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._faces is None:
            self._faces = torch.from_numpy(faces).to(self._steps.device)
        return self._steps.score(averaged, self._faces)
