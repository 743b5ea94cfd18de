"""What a training step sees: shuffled, augmented batches and their targets."""

import keras
import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES, to_input
from trainer.data.split import Split
from trainer.errors import ConfigError
from trainer.training.augment import augment, mix, shrink
from trainer.training.config import TrainConfig

Batch = tuple[NDArray[np.float32], ...]


class Feed(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of an epoch, prepared ahead by two threads. Images stay uint8 until they are used.

    What batch `index` of an epoch holds depends on the seed, the epoch and the index alone, so that a resumed run sees
    what the uninterrupted one would have. Faces that do not fill the last batch wait for another epoch.

    A batch is faces float32 [B, 48, 48, 1], or of the epoch's smaller side (`TrainConfig.sides`); targets float32
    [B, 7], or [B, 14] with a teacher's beside them; and with class weights float32 [B].

    Args:
        split: the training faces.
        config: seed, batch size, augmentation and how targets are made.
        teacher: softened probabilities float32 [N, 7], of every face whatever its view.
        epoch: the first epoch's index, from 0.
    """

    def __init__(
        self, split: Split, config: TrainConfig, teacher: NDArray[np.float32] | None = None, epoch: int = 0
    ) -> None:
        # Threads, not processes: OpenCV and NumPy release the GIL, and the images are shared for free.
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=16)
        self._images = split.images
        self._config = config
        labels = make_targets(split, config.ferplus)
        self._targets = labels if teacher is None else np.concatenate([labels, teacher], axis=1)
        self._weights = class_weights(labels) if config.class_weights else None
        self._epoch = epoch
        self._order = self._shuffled()

    def __len__(self) -> int:
        return len(self._images) // self._config.batch_size

    def __getitem__(self, index: int) -> Batch:
        batch = self._order[index * self._config.batch_size :][: self._config.batch_size]
        rng = np.random.default_rng((self._config.seed, self._epoch, index))
        config = self._config.augment_at(self._epoch)
        views = augment(self._images[batch], config, rng)
        faces = to_input(shrink(views, self._config.side(self._epoch)))
        targets = self._targets[batch]
        if config.mixup:
            faces, targets = mix(faces, targets, config.mixup, rng)
        if self._weights is None:
            return faces, targets
        return faces, targets, targets[:, : len(CLASSES)] @ self._weights

    def begin(self, epoch: int) -> None:
        """Hold that epoch's batches from now on."""
        self._epoch = epoch
        self._order = self._shuffled()

    def _shuffled(self) -> NDArray[np.int64]:
        return np.random.default_rng((self._config.seed, self._epoch)).permutation(len(self._images))


def make_targets(split: Split, ferplus: float) -> NDArray[np.float32]:
    """A distribution over the classes for each face, float32 [N, 7].

    One-hot labels, of which the share `ferplus` gives way to the FER+ votes (Barsoum et al. 2016); and less of it where
    some of a face's votes went to none of the classes.

    Raises:
        ConfigError: votes are wanted and the data have none.
    """
    targets = np.eye(len(CLASSES), dtype=np.float32)[split.labels]
    if not ferplus:
        return targets
    if split.votes is None:
        raise ConfigError(
            f"ferplus: {ferplus:g} of the target is to be FER+ votes, and the data have none; give --votes"
        )
    share = np.float32(ferplus)
    mixed: NDArray[np.float32] = (1 - share * split.votes.sum(axis=1, keepdims=True)) * targets + share * split.votes
    return mixed


def class_weights(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse class frequencies float32 [7], scaled so that the mean over the faces is 1; 0 for an absent class."""
    mass = targets.sum(axis=0)
    present = mass > 0
    weights = np.zeros(targets.shape[1], np.float32)
    weights[present] = len(targets) / (present.sum() * mass[present])
    return weights
