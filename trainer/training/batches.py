"""What a training step sees: shuffled, augmented batches and their targets."""

import keras
import numpy as np
from numpy.typing import NDArray

from faces.contract import to_input
from trainer.data.split import Split
from trainer.training.augment import augment, mix, shrink
from trainer.training.config import TrainConfig
from trainer.training.targets import Teacher, beside, class_weights, label_targets, labels_of

Batch = tuple[NDArray[np.float32], ...]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of an epoch, prepared ahead by two threads. Images stay uint8 until they are used.

    What batch `index` of an epoch holds depends on the seed, the epoch and the index alone, so that a resumed run sees
    what the uninterrupted one would have. Faces that do not fill the last batch wait for another epoch.

    A batch is faces float32 [B, 48, 48, 1], or of the epoch's smaller side (`TrainConfig.sides`); targets (see
    `targets`); and with class weights float32 [B].

    Args:
        split: the training faces.
        config: seed, batch size, augmentation and how targets are made.
        teacher: of these faces; every view of a face has the same teaching.
        epoch: the first epoch's index, from 0.
    """

    def __init__(self, split: Split, config: TrainConfig, teacher: Teacher | None = None, epoch: int = 0) -> None:
        # Threads, not processes: OpenCV and NumPy release the GIL, and the images are shared for free.
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=16)
        self._images = split.images
        self._config = config
        labels = label_targets(split, config.ferplus)
        self._targets = labels if teacher is None else beside(labels, teacher, config.distill.temperature)
        self._weights = class_weights(labels) if config.class_weights else None
        self.begin(epoch)

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
        return faces, targets, labels_of(targets) @ self._weights

    def begin(self, epoch: int) -> None:
        """Hold that epoch's batches from now on."""
        self._epoch = epoch
        self._order = np.random.default_rng((self._config.seed, epoch)).permutation(len(self._images))
