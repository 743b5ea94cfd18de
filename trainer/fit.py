"""Train one model: feed, optimise, average the weights, keep the best epoch."""

import csv
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from trainer.augment import augment
from trainer.config import TrainConfig, dump_config
from trainer.data import CLASSES, Split, normalize
from trainer.errors import ConfigError, TrainingError
from trainer.evaluate import Metrics, score, softmax
from trainer.models import build

WEIGHTS = "best.weights.h5"
METRICS = "metrics.json"


@dataclass(frozen=True)
class Result:
    """A finished run: the model with its best averaged weights, and their metrics on the validation split."""

    model: keras.Model
    metrics: Metrics
    epoch: int


class Feed(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffled, augmented batches (faces [B, 48, 48, 1], one-hot [B, 7]). Images stay uint8 until they are used.

    The order and the views of an epoch depend on the seed and the epoch alone, so that a run can be repeated.
    """

    def __init__(self, split: Split, config: TrainConfig) -> None:
        # A thread, not a process: OpenCV and NumPy release the GIL, and the images are shared for free.
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=16)
        self._split = split
        self._config = config
        self._epoch = 0
        self._order = self._shuffled()

    def __len__(self) -> int:
        return len(self._split) // self._config.batch_size

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        batch = self._order[index * self._config.batch_size :][: self._config.batch_size]
        rng = np.random.default_rng((self._config.seed, self._epoch, index))
        images = augment(self._split.images[batch], self._config.augment, rng)
        return normalize(images), np.eye(len(CLASSES), dtype=np.float32)[self._split.labels[batch]]

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> NDArray[np.int64]:
        return np.random.default_rng((self._config.seed, self._epoch)).permutation(len(self._split))


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: evaluate, log a line, keep the best weights. Stops on a loss that is not finite."""

    def __init__(self, validation: Split, config: TrainConfig, directory: Path, images: int, console: Console) -> None:
        super().__init__()
        self._faces = normalize(validation.images)
        self._labels = validation.labels
        self._config = config
        self._directory = directory
        self._images = images
        self._console = console
        self._log = directory / "log.csv"
        self._start = self._epoch_start = time.monotonic()
        self.best: Metrics | None = None
        self.best_epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss became {logs['loss']} in batch {batch}; lower learning_rate or clip_norm and start again"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        seconds = time.monotonic() - self._epoch_start
        metrics = score(softmax(self.model.predict(self._faces, batch_size=256, verbose=0)), self._labels)
        logs = logs or {}
        row = {
            "epoch": epoch + 1,
            "loss": round(float(logs.get("loss", math.nan)), 4),
            "training_accuracy": round(float(logs.get("accuracy", math.nan)), 4),
            "accuracy": round(metrics.accuracy, 4),
            "macro_f1": round(metrics.macro_f1, 4),
            "log_loss": round(metrics.log_loss, 4),
            "images_per_second": round(self._images / seconds, 1),
        }
        with self._log.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
        if self.best is None or metrics.accuracy > self.best.accuracy:
            self.best, self.best_epoch = metrics, epoch + 1
            save_weights(self.model, self._directory / WEIGHTS)
        elapsed = time.monotonic() - self._start
        left = elapsed / (epoch + 1) * (self._config.epochs - epoch - 1)
        self._console.print(
            f"epoch {epoch + 1}/{self._config.epochs}  loss {row['loss']:.3f}  training {row['training_accuracy']:.3f}"
            f"  validation {metrics.accuracy:.4f} (best {self.best.accuracy:.4f})"
            f"  {row['images_per_second']:.0f} images/s  {left / 60:.0f} min left"
        )


def save_weights(model: keras.Model, path: Path) -> None:
    """Write the weights so that a reader finds the old file or the new one, never half of it."""
    partial = path.with_name(f".partial-{path.name}")
    model.save_weights(partial)
    partial.replace(path)


def load_weights(model: keras.Model, run: Path) -> None:
    """Load a run's best weights into a model built as the run's was.

    Raises:
        ConfigError: the run has no weights, or not this model's.
    """
    try:
        model.load_weights(run / WEIGHTS)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{run / WEIGHTS}: cannot be loaded into {model.name}: {error}") from error


def fit(
    config: TrainConfig,
    training: Split,
    validation: Split,
    directory: Path,
    facts: Mapping[str, Any],
    console: Console,
    *,
    init: Path | None = None,
) -> Result:
    """Train and return the epoch with the best validation accuracy.

    Writes to `directory`: config.yaml (effective), log.csv (a row per epoch), best.weights.h5 and metrics.json (the
    metrics, with `facts` about data and libraries).

    Args:
        init: a run directory whose best weights to start from, such as one trained on more faces of another kind.

    Raises:
        ConfigError: the model does not exist or does not take its arguments, or `init` holds another one's weights.
        TrainingError: the loss stopped being finite, or fewer training images than one batch.
    """
    if len(training) < config.batch_size:
        raise TrainingError(f"{len(training)} training images do not fill one batch of {config.batch_size}")
    keras.utils.set_random_seed(config.seed)
    model = build(config.model, config.model_args)
    if init is not None:
        load_weights(model, init)
    feed = Feed(training, config)
    model.compile(
        optimizer=_optimizer(config, steps=len(feed)),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (directory / "log.csv").unlink(missing_ok=True)
    watch = Watch(validation, config, directory, len(feed) * config.batch_size, console)
    # Swaps the averaged weights in before `watch` evaluates and saves, and out again before the next epoch.
    averages = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if config.ema else []
    model.fit(feed, epochs=config.epochs, verbose=0, callbacks=[*averages, watch])
    if watch.best is None:
        raise TrainingError("no epoch was completed")
    load_weights(model, directory)
    summary = {
        "epoch": watch.best_epoch,
        "parameters": model.count_params(),
        "PublicTest": watch.best.to_json(),
        "config": config.model_dump(mode="json"),
        **facts,
    }
    (directory / METRICS).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return Result(model, watch.best, watch.best_epoch)


def load_facts(directory: Path) -> dict[str, Any]:
    """What a finished run wrote to metrics.json.

    Raises:
        TrainingError: the directory holds no finished run.
    """
    try:
        facts: dict[str, Any] = json.loads((directory / METRICS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise TrainingError(f"{directory / METRICS}: not a finished run: {error}") from error
    return facts


def _optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    warmup = round(config.warmup_epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=max(1, config.epochs * steps - warmup),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    options: dict[str, Any] = {
        "learning_rate": schedule,
        "global_clipnorm": config.clip_norm,
        "use_ema": bool(config.ema),
        "ema_momentum": config.ema or 0.99,
    }
    if config.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=config.weight_decay, **options)
    optimizer = keras.optimizers.AdamW(weight_decay=config.weight_decay, **options)
    # Decay pulls kernels towards zero; on a normalisation's scale or on a bias it only fights the data.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
