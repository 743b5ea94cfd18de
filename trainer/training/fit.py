"""Train one model: feed, optimise, average the weights, keep the best epoch."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from faces.contract import SIDE
from trainer import run_directory
from trainer.data.split import Split
from trainer.ensemble import teacher as teachers
from trainer.ensemble.teacher import Teacher, soften
from trainer.errors import ConfigError, TrainingError
from trainer.evaluation.metrics import Metrics
from trainer.networks.networks import build
from trainer.run_directory import load_weights, save_weights
from trainer.training import checkpoint, losses
from trainer.training.batches import Feed
from trainer.training.callbacks import Callbacks, Report, Stopped, Watch, patient_no_more
from trainer.training.checkpoint import Checkpoint
from trainer.training.config import TrainConfig, dump_config
from trainer.training.ema import Average
from trainer.training.loggers import Bar
from trainer.training.optimizers import optimizer

__all__ = ["Report", "Result", "Stopped", "fit"]


@dataclass(frozen=True)
class Result:
    """A finished run: the model with its best averaged weights, float32, and their metrics on the validation split."""

    model: keras.Model
    metrics: Metrics
    epoch: int


def fit(
    config: TrainConfig,
    training: Split,
    validation: Split,
    directory: Path,
    facts: Mapping[str, Any],
    console: Console,
    *,
    init: Path | None = None,
    resume: bool = False,
    teacher: Teacher | None = None,
    report: Report | None = None,
) -> Result:
    """Train and return the epoch with the best validation accuracy.

    Writes to `directory`: config.yaml (effective), log.csv (a row per epoch), tensorboard/, best.weights.h5,
    checkpoint.npz (after each epoch) and at the end metrics.json (the metrics, with `facts` about data and libraries).
    What an earlier run left there is removed, unless it is resumed.

    Args:
        init: a run directory whose best weights to start from, such as one trained on more faces of another kind.
        resume: go on from the directory's checkpoint, to what the run would have come to uninterrupted; start afresh
            where nothing was begun. A finished run is not trained further, and stays as it is.
        teacher: opinions of the training images, to be learnt as `config.distill` says.
        report: called after each epoch with its number, from 1, and its metrics; may raise `Stopped`.

    Raises:
        ConfigError: the model does not exist or does not take its arguments; `init` holds another one's weights; the
            config wants FER+ votes that are not there, or a precision that the backend lacks; or config, data, `init`
            or teacher are not those that the resumed run began with.
        TrainingError: the loss stopped being finite, fewer training images than one batch, or a run to resume that
            has results but no checkpoint.
        Stopped: `report` raised it. Logs, checkpoint and best weights are there, metrics.json is not.
    """
    if len(training) < config.batch_size:
        raise TrainingError(f"{len(training)} training images do not fill one batch of {config.batch_size}")
    identity = {
        "config": config.model_dump(mode="json"),
        "data": checkpoint.digest(training, validation),
        "init": _weights_digest(init),
        "teacher": teachers.identity(teacher) if teacher else None,
    }
    path = directory / run_directory.CHECKPOINT
    saved = checkpoint.load(path) if resume else None
    if saved:
        checkpoint.check_same(path, saved.progress.identity, identity)
    keras.utils.set_random_seed(config.seed)
    judge = build(config.model, config.model_args)
    if config.judged_side != SIDE:
        judge = _of_any_side(judge, config.judged_side)
    with _precision(config.precision):
        model = build(config.model, config.model_args)
        if config.sides:
            model = _of_any_side(model, config.smallest_side)
    if init is not None:
        load_weights(model, init)
    opinions = soften(teacher.probabilities, config.distill.temperature) if teacher else None
    feed = Feed(training, config, opinions, saved.progress.epoch if saved else 0)
    model.compile(optimizer=optimizer(config, len(feed)), loss=_loss(config, teacher), metrics=[losses.accuracy])
    average = _restore(saved, model, config)

    if not saved:
        if resume:
            checkpoint.require_unfinished(directory)
        checkpoint.clear(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / run_directory.CONFIG).write_text(dump_config(config), encoding="utf-8")
    begun = saved.progress if saved else None
    if begun and begun.best_epoch == begun.epoch:
        # The run may have been killed after the checkpoint and before the best weights were written.
        judge.set_weights(average.values)
        save_weights(judge, directory / run_directory.WEIGHTS)
    with Bar(console, config.epochs * len(feed), average.steps) as bar:
        watch = Watch(config, judge, average, validation, directory, identity, begun, bar, len(feed), report)
        _train(model, feed, config, watch, begun.epoch if begun else 0)
    if watch.best is None:
        raise TrainingError("no epoch was completed")
    load_weights(judge, directory)
    summary = {
        "epoch": watch.best_epoch,
        "parameters": judge.count_params(),
        "PublicTest": watch.best.to_json(),
        "config": identity["config"],
        **({"teacher": teacher.facts} if teacher else {}),
        **facts,
    }
    if not (directory / run_directory.METRICS).exists():
        # A finished run that is resumed keeps the commit and the libraries that it was trained with.
        partial = directory / f".partial-{run_directory.METRICS}"
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        partial.replace(directory / run_directory.METRICS)
    return Result(judge, watch.best, watch.best_epoch)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    if name != "float32" and keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        # Where the processor has no bfloat16 convolution, TensorFlow ends the process instead of raising.
        raise ConfigError(f"precision: {name} needs a GPU with TensorFlow; on processors set KERAS_BACKEND=torch")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _loss(config: TrainConfig, teacher: Teacher | None) -> keras.losses.Loss:
    if teacher is None:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    return losses.Distillation(config.distill.temperature, config.distill.weight, config.label_smoothing)


def _restore(saved: Checkpoint | None, model: keras.Model, config: TrainConfig) -> Average:
    model.optimizer.build(model.trainable_variables)
    if saved is None:
        return Average(model.weights, config.ema)
    for variables, values in ((model.variables, saved.model), (model.optimizer.variables, saved.optimizer)):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    return Average(model.weights, config.ema, saved.average, saved.progress.steps)


def _train(model: keras.Model, feed: Feed, config: TrainConfig, watch: Watch, epoch: int) -> None:
    if patient_no_more(config, epoch, watch.best_epoch):
        return
    model.stop_training = False
    # A call for each side: Keras on TensorFlow takes the shape of a call's first batches for that of all.
    ends = [*sorted(first - 1 for first in config.sides if first - 1 > epoch), config.epochs]
    for end in ends:
        if epoch < end and not model.stop_training:
            callbacks = Callbacks([Begin(feed), watch], model=model, add_history=True)
            feed.begin(epoch)
            model.fit(feed, epochs=end, initial_epoch=epoch, verbose=0, callbacks=callbacks)
        epoch = end
    if watch.failure:
        raise watch.failure


class Begin(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the feed which epoch it is. Keras's own hook is called once more than there are epochs."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._feed.begin(epoch)


def _of_any_side(model: keras.Model, smallest: int) -> keras.Model:
    # The same layers and weights, in the same order; the shape is all that a functional model holds its caller to.
    resizable = keras.models.clone_model(model, input_tensors=keras.Input((None, None, 1), name="faces"))
    try:
        resizable.compute_output_spec(keras.KerasTensor((1, smallest, smallest, 1)))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"sides: {model.name} cannot see faces of side {smallest}: {error}") from error
    return resizable


def _weights_digest(run: Path | None) -> str | None:
    if run is None:
        return None
    try:
        return hashlib.sha256((run / run_directory.WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{run / run_directory.WEIGHTS}: {error.strerror}") from error
