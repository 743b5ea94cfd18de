"""What happens around a training's steps: averaging, evaluation, logs, checkpoints, and reasons to stop."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import rich.progress
from numpy.typing import NDArray

from faces.contract import to_input
from trainer import run_directory
from trainer.data.split import Split
from trainer.errors import TrainingError
from trainer.evaluation.metrics import Metrics, score
from trainer.networks.scores import softmax, to_numpy
from trainer.training import checkpoint
from trainer.training.augment import shrink
from trainer.training.batches import Batches
from trainer.training.checkpoint import Checkpoint, Progress
from trainer.training.config import TrainConfig
from trainer.training.ema import Average
from trainer.training.loggers import TASK, CsvLog, TensorBoard

_LOOK = 50
"""Batches between two looks at the loss: reading it makes the host wait for the device."""

EpochReport = Callable[[int, Metrics], None]
"""Told of each epoch, counted from 1, and of its metrics on the validation split."""


class Stopped(Exception):  # noqa: N818
    """Raised by an `EpochReport` to end the run after that epoch; `fit` lets it through."""


class Callbacks(keras.callbacks.CallbackList):  # type: ignore[misc]
    """Hands a batch's logs on as they are, where Keras would turn each into a float and wait for the device."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class Trainee(Protocol):
    """What is trained, as far as an epoch's end asks for it."""

    @property
    def steps(self) -> int:
        """Steps of the optimiser so far."""
        ...

    def rate(self, epoch: int) -> float:
        """The learning rate at the end of an epoch, counted from 1."""
        ...

    def average(self) -> list[NDArray[np.float32]]:
        """The averaged weights, in the order of `model.weights`."""
        ...

    def variables(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """The model's variables and the optimiser's, to go on from."""
        ...

    def score(self, averaged: keras.Model, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put the averaged weights into a model and give its scores of the faces: [N, H, W, 1] -> [N, 7]."""
        ...


class Epochs:
    """After each epoch: evaluates the averaged weights, logs, keeps the best and writes a checkpoint.

    Args:
        batches: how many an epoch has.
        validation: the faces that the best epoch is selected on.
        averaged: the model that the averaged weights are evaluated and saved in, float32.
        directory: the run's.
        identity: written to each checkpoint, see `checkpoint.Progress`.
        begun: what an interrupted run left; None for a fresh one.
        save_s: seconds between two checkpoints; the last epoch has one too.
    """

    def __init__(
        self,
        config: TrainConfig,
        batches: int,
        validation: Split,
        averaged: keras.Model,
        directory: Path,
        identity: dict[str, Any],
        begun: Checkpoint | None,
        bar: rich.progress.Progress,
        report: EpochReport | None,
        save_s: float = 0,
    ) -> None:
        self._config = config
        self._batches = batches
        self._faces = to_input(shrink(validation.images, config.judged_side))
        self._labels = validation.labels
        self._averaged = averaged
        self._directory = directory
        self._identity = identity
        self._bar = bar
        self._report = report
        self._save_s = save_s
        self.first = begun.progress.epoch if begun else 0
        self._csv = CsvLog(directory / run_directory.LOG, self.first)
        self._tensorboard = TensorBoard(directory / run_directory.TENSORBOARD, self.first)
        self._started = self._epoch_started = self._saved = time.monotonic()
        self.best = Metrics(**begun.progress.best) if begun else None
        self.best_epoch = begun.progress.best_epoch if begun else 0
        self._best_weights: Sequence[NDArray[np.float32]] = begun.best if begun else ()
        self._epoch = self.first
        self.failure: TrainingError | Stopped | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has failed, was stopped or lost its patience."""
        return self.failure is not None or patient_no_more(self._config, self._epoch, self.best_epoch)

    def begin(self, epoch: int) -> None:
        """An epoch begins, counted from 0."""
        self._epoch = epoch
        self._epoch_started = time.monotonic()
        self.describe(epoch, None)

    def advance(self, batches: int = 1) -> None:
        """Move the bar."""
        self._bar.advance(TASK, batches)

    def end(self, epoch: int, loss: float, accuracy: float, trainee: Trainee) -> None:
        """An epoch has ended, counted from 0.

        Args:
            loss: its mean.
            accuracy: on the training faces as they were seen.
        """
        seconds = time.monotonic() - self._epoch_started
        self.check(epoch, loss)
        if self.failure:
            return
        self._epoch = epoch = epoch + 1
        rate = trainee.rate(epoch)
        metrics = score(trainee.score(self._averaged, self._faces), self._labels)
        if self.best is None or metrics.accuracy > self.best.accuracy:
            self.best, self.best_epoch, self._best_weights = metrics, epoch, trainee.average()
        row = {
            "epoch": epoch,
            "loss": round(loss, 4),
            "training_accuracy": round(accuracy, 4),
            "accuracy": round(metrics.accuracy, 4),
            "macro_f1": round(metrics.macro_f1, 4),
            "log_loss": round(metrics.log_loss, 4),
            "learning_rate": float(f"{rate:.4g}"),
            "images_per_second": round(self._batches * self._config.batch_size / seconds, 1),
        }
        self._csv.add(row)
        self._tensorboard.add(
            epoch,
            {
                "training/loss": loss,
                "training/accuracy": row["training_accuracy"],
                "validation/accuracy": metrics.accuracy,
                "validation/macro_f1": metrics.macro_f1,
                "validation/log_loss": metrics.log_loss,
                "learning_rate": rate,
                "images_per_second": row["images_per_second"],
            },
        )
        self._print(epoch, row)
        due = self.ended or epoch == self._config.epochs or time.monotonic() - self._saved >= self._save_s
        if due:
            self._save(epoch, trainee)
        if self._report:
            try:
                self._report(epoch, metrics)
            except Stopped as stop:
                self.failure = stop
                if not due:
                    self._save(epoch, trainee)

    def check(self, epoch: int, loss: float) -> None:
        """Fail where a loss is not finite: the mean since the epoch began stays so."""
        if not math.isfinite(loss) and not self.failure:
            self.failure = TrainingError(
                f"the loss became {loss} in epoch {epoch + 1}; lower learning_rate or clip_norm"
            )
        self.describe(epoch, loss)

    def describe(self, epoch: int, loss: float | None) -> None:
        """Say on the bar where the run is."""
        text = f"epoch {epoch + 1}/{self._config.epochs}"
        if loss is not None:
            text += f"  loss {loss:.3f}"
        if self.best is not None:
            text += f"  best {self.best.accuracy:.4f}"
        self._bar.update(TASK, description=text)

    def save_best(self) -> None:
        """Write the best epoch's weights, and leave them in the averaged model."""
        # Release 0.2.0 kept them in no checkpoint: they lie in the directory.
        if self._best_weights:
            self._averaged.set_weights(self._best_weights)
            checkpoint.save_weights(self._averaged, self._directory)

    def _save(self, epoch: int, trainee: Trainee) -> None:
        assert self.best is not None
        progress = Progress(self._identity, epoch, trainee.steps, self.best_epoch, asdict(self.best))
        model, optimizer = trainee.variables()
        kept = Checkpoint(progress, model, optimizer, trainee.average(), self._best_weights)
        checkpoint.save(kept, self._directory / run_directory.CHECKPOINT)
        # After the checkpoint, which holds these weights: a run that was killed in between writes them when it goes on.
        self.save_best()
        self._saved = time.monotonic()

    def _print(self, epoch: int, row: dict[str, float]) -> None:
        assert self.best is not None
        a_second = (time.monotonic() - self._started) / (epoch - self.first)
        # As one line, however narrow the terminal.
        self._bar.console.print(
            f"epoch {epoch}/{self._config.epochs}  loss {row['loss']:.3f}  training {row['training_accuracy']:.3f}"
            f"  validation {row['accuracy']:.4f} (best {self.best.accuracy:.4f})"
            f"  {row['images_per_second']:.0f} images/s"
            f"  {a_second * (self._config.epochs - epoch) / 60:.0f} min left",
            soft_wrap=True,
            highlight=False,
        )


class EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets `Epochs` know of Keras's epochs, and averages the weights.

    Args:
        batches: what is trained on; told which epoch it is.
        average: of the weights of the model in training.
        epochs: told of each epoch.
    """

    def __init__(self, config: TrainConfig, batches: Batches, average: Average, epochs: Epochs) -> None:
        super().__init__()
        self._config = config
        self._batches = batches
        self._average = average
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Keras's own hook for this is called once more than there are epochs.
        self._batches.begin(epoch)
        # Dropout draws from the backend's own generator, whose state no checkpoint holds.
        keras.utils.set_random_seed((self._config.seed * 10_007 + epoch) % 2**32)
        self._epochs.begin(epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._epochs.advance()
        if self._average.step():
            self._update_average()
        if batch % _LOOK == 0 and logs:
            self._epochs.check(self._average.steps // len(self._batches), float(logs["loss"]))
            self._stop_if_ended()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        self._update_average()
        self._epochs.end(epoch, float(logs.get("loss", math.nan)), float(logs.get("accuracy", math.nan)), self)
        self._stop_if_ended()

    @property
    def steps(self) -> int:
        return self._average.steps

    def rate(self, epoch: int) -> float:
        return float(self.model.optimizer.learning_rate)

    def average(self) -> list[NDArray[np.float32]]:
        return [value.copy() for value in self._average.values]

    def variables(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        return (
            [to_numpy(variable) for variable in self.model.variables],
            [to_numpy(variable) for variable in self.model.optimizer.variables],
        )

    def score(self, averaged: keras.Model, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        averaged.set_weights(self._average.values)
        return softmax(averaged.predict(faces, batch_size=256, verbose=0))

    def _update_average(self) -> None:
        # While it trains, JAX keeps the state outside the model's variables.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self._average.update()

    def _stop_if_ended(self) -> None:
        # A failure is raised by `fit` once Keras has shut down the threads that prepare batches.
        if self._epochs.ended:
            self.model.stop_training = True


def patient_no_more(config: TrainConfig, epoch: int, best_epoch: int) -> bool:
    """Whether the last `patience` epochs brought nothing better."""
    return config.patience is not None and epoch - best_epoch >= config.patience
