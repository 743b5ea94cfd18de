"""What happens around a training's steps: averaging, evaluation, logs, checkpoints, and reasons to stop."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import rich.progress

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


class EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: evaluates the averaged weights, logs, keeps the best and writes a checkpoint.

    Args:
        batches: what is trained on; told which epoch it is.
        validation: the faces that the best epoch is selected on.
        averaged: the model that the averaged weights are evaluated and saved in, float32.
        average: of the weights of the model in training.
        directory: the run's.
        identity: written to each checkpoint, see `checkpoint.Progress`.
        begun: where an interrupted run was; None for a fresh one.
    """

    def __init__(
        self,
        config: TrainConfig,
        batches: Batches,
        validation: Split,
        averaged: keras.Model,
        average: Average,
        directory: Path,
        identity: dict[str, Any],
        begun: Progress | None,
        bar: rich.progress.Progress,
        report: EpochReport | None,
    ) -> None:
        super().__init__()
        self._config = config
        self._batches = batches
        self._faces = to_input(shrink(validation.images, config.judged_side))
        self._labels = validation.labels
        self._averaged = averaged
        self._average = average
        self._directory = directory
        self._identity = identity
        self._bar = bar
        self._report = report
        self._first = begun.epoch if begun else 0
        self._csv = CsvLog(directory / run_directory.LOG, self._first)
        self._tensorboard = TensorBoard(directory / run_directory.TENSORBOARD, self._first)
        self._started = self._epoch_started = time.monotonic()
        self.best = Metrics(**begun.best) if begun else None
        self.best_epoch = begun.best_epoch if begun else 0
        self.failure: TrainingError | Stopped | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Keras's own hook for this is called once more than there are epochs.
        self._batches.begin(epoch)
        # Dropout draws from the backend's own generator, whose state no checkpoint holds.
        keras.utils.set_random_seed((self._config.seed * 10_007 + epoch) % 2**32)
        self._epoch_started = time.monotonic()
        self._describe(epoch, None)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.advance(TASK)
        if self._average.step():
            self._update_average()
        if batch % _LOOK == 0 and logs:
            self._check(self._average.steps // len(self._batches), float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        seconds = time.monotonic() - self._epoch_started
        logs = logs or {}
        loss = float(logs.get("loss", math.nan))
        self._check(epoch, loss)
        if self.failure:
            return
        epoch += 1
        rate = float(self.model.optimizer.learning_rate)
        self._update_average()
        self._averaged.set_weights(self._average.values)
        metrics = score(softmax(self._averaged.predict(self._faces, batch_size=256, verbose=0)), self._labels)
        better = self.best is None or metrics.accuracy > self.best.accuracy
        if better:
            self.best, self.best_epoch = metrics, epoch
        row = {
            "epoch": epoch,
            "loss": round(loss, 4),
            "training_accuracy": round(float(logs.get("accuracy", math.nan)), 4),
            "accuracy": round(metrics.accuracy, 4),
            "macro_f1": round(metrics.macro_f1, 4),
            "log_loss": round(metrics.log_loss, 4),
            "learning_rate": float(f"{rate:.4g}"),
            "images_per_second": round(len(self._batches) * self._config.batch_size / seconds, 1),
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
        self._save(epoch)
        # After the checkpoint: a kill in between leaves a checkpoint that holds these weights, for `fit` to write.
        if better:
            checkpoint.save_weights(self._averaged, self._directory)
        self._print(epoch, row)
        if patient_no_more(self._config, epoch, self.best_epoch):
            self.model.stop_training = True
        if self._report:
            try:
                self._report(epoch, metrics)
            except Stopped as stop:
                self._stop(stop)

    def _update_average(self) -> None:
        # While it trains, JAX keeps the state outside the model's variables.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self._average.update()

    def _check(self, epoch: int, loss: float) -> None:
        # The loss is the mean since the epoch began: once it is not finite it stays so.
        if not math.isfinite(loss) and not self.failure:
            self._stop(TrainingError(f"the loss became {loss} in epoch {epoch + 1}; lower learning_rate or clip_norm"))
        self._describe(epoch, loss)

    def _stop(self, reason: TrainingError | Stopped) -> None:
        # Raised by `fit` once Keras has shut down the threads that prepare batches.
        self.failure = reason
        self.model.stop_training = True

    def _save(self, epoch: int) -> None:
        assert self.best is not None
        checkpoint.save(
            Checkpoint(
                Progress(self._identity, epoch, self._average.steps, self.best_epoch, asdict(self.best)),
                model=[to_numpy(variable) for variable in self.model.variables],
                optimizer=[to_numpy(variable) for variable in self.model.optimizer.variables],
                average=self._average.values,
            ),
            self._directory / run_directory.CHECKPOINT,
        )

    def _describe(self, epoch: int, loss: float | None) -> None:
        text = f"epoch {epoch + 1}/{self._config.epochs}"
        if loss is not None:
            text += f"  loss {loss:.3f}"
        if self.best is not None:
            text += f"  best {self.best.accuracy:.4f}"
        self._bar.update(TASK, description=text)

    def _print(self, epoch: int, row: dict[str, float]) -> None:
        assert self.best is not None
        a_second = (time.monotonic() - self._started) / (epoch - self._first)
        # As one line, however narrow the terminal.
        self._bar.console.print(
            f"epoch {epoch}/{self._config.epochs}  loss {row['loss']:.3f}  training {row['training_accuracy']:.3f}"
            f"  validation {row['accuracy']:.4f} (best {self.best.accuracy:.4f})"
            f"  {row['images_per_second']:.0f} images/s"
            f"  {a_second * (self._config.epochs - epoch) / 60:.0f} min left",
            soft_wrap=True,
            highlight=False,
        )


def patient_no_more(config: TrainConfig, epoch: int, best_epoch: int) -> bool:
    """Whether the last `patience` epochs brought nothing better."""
    return config.patience is not None and epoch - best_epoch >= config.patience
