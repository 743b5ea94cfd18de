"""Train one model: feed, optimise, average the weights, keep the best epoch."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from faces.contract import SIDE
from trainer.data.split import Split
from trainer.errors import ConfigError, TrainingError
from trainer.evaluation.metrics import Metrics
from trainer.files import reason, replacing, sha256, write_json
from trainer.networks.networks import build, dtype_policy
from trainer.run_directory import CHECKPOINT, CONFIG, METRICS, WEIGHTS, clear, require_unfinished
from trainer.training import checkpoint, losses
from trainer.training.batches import Batches
from trainer.training.callbacks import Callbacks, EpochEnd, EpochReport, Epochs
from trainer.training.checkpoint import Checkpoint, load_weights
from trainer.training.config import TrainConfig, dump_config
from trainer.training.ema import Average
from trainer.training.loggers import training_bar
from trainer.training.optimizers import optimizer
from trainer.training.targets import Teacher


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
    report: EpochReport | None = None,
) -> Result:
    """Train and return the epoch with the best validation accuracy.

    Writes to `directory`: config.yaml (effective), log.csv (a row per epoch), tensorboard/, best.weights.h5,
    checkpoint.npz (after each epoch) and at the end metrics.json (the metrics, with `facts`).
    What an earlier run left there is removed, unless it is resumed.

    Args:
        facts: about data (`Dataset.facts` under `data`) and libraries.
        init: a run directory whose best weights to start from, such as one trained on more faces of another kind.
        resume: go on from the directory's checkpoint, to what the run would have come to uninterrupted; start afresh
            where nothing was begun. A finished run is not trained further, and stays as it is.
        teacher: opinions of the training images, to be learnt as `config.distill` says.
        report: called after each epoch; may raise `Stopped`.

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
        "data": checkpoint.data_digest(training, validation),
        "init": _weights_digest(init),
        "teacher": teacher.identity if teacher else None,
    }
    saved = checkpoint.load(directory / CHECKPOINT) if resume else None
    if saved:
        # Keys that an earlier release did not have were what their defaults are.
        began = saved.progress.identity
        began = {**began, "config": TrainConfig.model_validate(began["config"]).model_dump(mode="json")}
        checkpoint.require_same(directory / CHECKPOINT, began, identity)

    keras.utils.set_random_seed(config.seed)
    averaged = _build(config, config.judged_side)
    _require_precision(config.precision)
    _require_backend(config.feed)
    with dtype_policy(config.precision):
        model = _build(config, config.smallest_side)
    if init is not None:
        load_weights(model, init)
    run: Callable[[Epochs], None]
    if config.feed == "device":
        # PyTorch need not be installed where another backend trains.
        from trainer.training.device.train import SAVE_S, DeviceTraining

        training_on_device = DeviceTraining(model, training, config, teacher, saved)
        batches, save_s, run = training_on_device.batches, SAVE_S, training_on_device.run
    else:
        feed = Batches(training, config, teacher, saved.progress.epoch if saved else 0)
        model.compile(
            optimizer=optimizer(config, len(feed)),
            loss=losses.loss(config, taught=teacher is not None),
            metrics=[losses.accuracy],
        )
        batches, save_s, run = len(feed), 0.0, partial(_train, model, feed, config, _restore(saved, model, config))

    if not saved:
        if resume:
            require_unfinished(directory)
        clear(directory)
    # What a killed run had half written; nobody else writes here.
    for abandoned in directory.glob(".partial-*"):
        abandoned.unlink()
    with replacing(directory / CONFIG) as unfinished:
        unfinished.write_text(dump_config(config), encoding="utf-8")
    with training_bar(console, config.epochs * batches, saved.progress.steps if saved else 0) as bar:
        epochs = Epochs(config, batches, validation, averaged, directory, identity, saved, bar, report, save_s)
        if saved:
            # The run may have been killed after the checkpoint and before the best weights were written.
            epochs.save_best()
        run(epochs)
    if epochs.failure:
        raise epochs.failure
    if epochs.best is None:
        raise TrainingError("no epoch was completed")

    load_weights(averaged, directory)
    # A finished run that is resumed keeps the commit and the libraries that it was trained with.
    if not (directory / METRICS).exists():
        summary = {
            "epoch": epochs.best_epoch,
            "parameters": averaged.count_params(),
            "PublicTest": asdict(epochs.best),
            "config": identity["config"],
            **({"teacher": teacher.facts} if teacher else {}),
            **facts,
        }
        write_json(directory / METRICS, summary)
    return Result(averaged, epochs.best, epochs.best_epoch)


def _build(config: TrainConfig, side: int) -> keras.Model:
    model = build(config.model, config.model_args)
    if side == SIDE:
        return model
    # The same layers and weights, in the same order; the shape is all that a functional model holds its caller to.
    resizable = keras.models.clone_model(model, input_tensors=keras.Input((None, None, 1), name="faces"))
    try:
        resizable.compute_output_spec(keras.KerasTensor((1, side, side, 1)))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"sides: {model.name} cannot see faces of side {side}: {error}") from error
    return resizable


def _require_backend(feed: str) -> None:
    if feed == "device" and keras.backend.backend() != "torch":
        raise ConfigError("feed: device is PyTorch's; set KERAS_BACKEND=torch")


def _require_precision(name: str) -> None:
    if name != "float32" and keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        # Where the processor has no bfloat16 convolution, TensorFlow ends the process instead of raising.
        raise ConfigError(f"precision: {name} needs a GPU with TensorFlow; on processors set KERAS_BACKEND=torch")


def _restore(saved: Checkpoint | None, model: keras.Model, config: TrainConfig) -> Average:
    model.optimizer.build(model.trainable_variables)
    if saved is None:
        return Average(model.weights, config.ema)
    for variables, values in ((model.variables, saved.model), (model.optimizer.variables, saved.optimizer)):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    return Average(model.weights, config.ema, saved.average, saved.progress.steps)


def _train(model: keras.Model, batches: Batches, config: TrainConfig, average: Average, epochs: Epochs) -> None:
    if epochs.ended:
        return
    epoch = epochs.first
    model.stop_training = False
    epoch_end = EpochEnd(config, batches, average, epochs)
    # A call for each side: Keras on TensorFlow takes the shape of a call's first batches for that of all.
    for end in [*sorted(first - 1 for first in config.sides if first - 1 > epoch), config.epochs]:
        if epoch < end and not model.stop_training:
            callbacks = Callbacks([epoch_end], model=model, add_history=True)
            batches.begin(epoch)
            model.fit(batches, epochs=end, initial_epoch=epoch, verbose=0, callbacks=callbacks)
        epoch = end


def _weights_digest(run: Path | None) -> str | None:
    try:
        return None if run is None else sha256(run / WEIGHTS)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {reason(error)}") from error
