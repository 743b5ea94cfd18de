"""`train` as a user runs it, and the parts of a training one by one."""

import csv
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from faces.contract import to_input
from trainer.commands.train import train
from trainer.data.split import Split
from trainer.errors import ConfigError, DataError, TrainerError, TrainingError
from trainer.evaluation.metrics import score
from trainer.networks.scores import softmax
from trainer.provenance import git_state
from trainer.run_directory import load_facts
from trainer.training.batches import Batches
from trainer.training.callbacks import Stopped
from trainer.training.checkpoint import load_run
from trainer.training.config import TrainConfig, load_config
from trainer.training.ema import Average
from trainer.training.fit import fit
from trainer.training.optimizers import optimizer, schedule
from trainer.training.targets import Teacher

Trainer = Callable[..., subprocess.CompletedProcess[str]]


def config_of(path: Path, *overrides: str) -> TrainConfig:
    return load_config(path, list(overrides))


def test_a_run_learns_and_reports_what_its_saved_weights_give(trained_run: Path, validation: Split) -> None:
    facts = load_facts(trained_run)
    scores = softmax(load_run(trained_run).predict(to_input(validation.images), verbose=0))
    assert score(scores, validation.labels).accuracy == pytest.approx(facts["PublicTest"]["accuracy"], abs=0.02)
    # Clearly above chance, 1/7; how far above depends on the machine.
    assert facts["PublicTest"]["accuracy"] > 2 / 7


def test_a_run_says_what_it_was_made_of(trained_run: Path, quick_config: Path) -> None:
    facts = json.loads((trained_run / "metrics.json").read_text())
    assert facts["config"] == config_of(quick_config).model_dump(mode="json")
    assert facts["data"]["training_images"] == 224
    assert re.fullmatch("[0-9a-f]{64}", facts["data"]["sha256"])
    assert facts["libraries"][keras.backend.backend()]
    assert facts["libraries"]["keras"] == keras.__version__
    assert facts["git"] is None or re.fullmatch("[0-9a-f]{40}", facts["git"]["commit"])
    assert load_config(trained_run / "config.yaml", []) == config_of(quick_config)


def test_the_logs_hold_every_epoch(trained_run: Path) -> None:
    with (trained_run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    best = max(float(row["accuracy"]) for row in rows)
    assert best == pytest.approx(load_facts(trained_run)["PublicTest"]["accuracy"], abs=1e-4)
    (events,) = (trained_run / "tensorboard").iterdir()
    logged = {
        (event.step, value.tag): value for event in EventFileLoader(str(events)).Load() for value in event.summary.value
    }
    assert len(logged) == 6 * 7
    accuracy = logged[6, "validation/accuracy"].tensor.float_val[0]
    assert accuracy == pytest.approx(float(rows[5]["accuracy"]), abs=1e-4)


def test_a_begun_or_finished_run_is_not_overwritten_unasked(
    trained_run: Path, quick_config: Path, fer_csv: Path, trainer: Trainer
) -> None:
    before = (trained_run / "metrics.json").read_bytes()
    done = trainer("train", "quick", "--config", quick_config, "--data", fer_csv, "--out", trained_run)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {trained_run} holds a finished run; give --resume")
    assert (trained_run / "metrics.json").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_with_a_message(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    # A learning rate that is far too large may leave nothing but dead units, whose loss is finite.
    teacher = Teacher(np.full((224, 7), np.nan, np.float32), {"sources": [], "views": 1})
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1; lower learning_rate"):
        fit(config_of(quick_config), training, validation, tmp_path, {}, Console(quiet=True), teacher=teacher)
    assert not (tmp_path / "checkpoint.npz").exists()


def test_class_weights_mixup_and_votes_train_too(
    quick_config: Path, trained_run: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    wishes = ["class_weights=true", "ferplus=0.5", "augment.mixup=0.2", "patience=1"]
    config = config_of(quick_config, *wishes, "learning_rate=1e-12", "epochs=4")
    voted = replace(training, votes=np.eye(7, dtype=np.float32)[training.labels])
    result = fit(config, voted, validation, tmp_path, {}, Console(quiet=True), init=trained_run)
    # From good weights and at that rate nothing changes: no epoch is better than the first, and the fourth never comes.
    assert result.metrics.accuracy == pytest.approx(load_facts(trained_run)["PublicTest"]["accuracy"], abs=0.05)
    assert len((tmp_path / "log.csv").read_text().splitlines()) < 1 + 4


def test_bfloat16_trains_float32_weights_where_the_backend_can(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    config = config_of(quick_config, "precision=mixed_bfloat16")
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        with pytest.raises(ConfigError, match=r"precision: mixed_bfloat16 needs a GPU .*KERAS_BACKEND=torch"):
            fit(config, training, validation, tmp_path, {}, Console(quiet=True))
    else:
        result = fit(config, training, validation, tmp_path, {}, Console(quiet=True))
        assert result.metrics.accuracy > 2 / 7
        assert {weight.dtype for weight in result.model.weights} == {"float32"}
        assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


SMALL = (
    "model_args={spec: {space: efficient, stem: 0, squeeze: 4, activation: relu, dropout: 0, "
    "stages: [{width: 8, depth: 1, block: basic}, {width: 8, depth: 1, block: basic}]}}"
)


@pytest.mark.parametrize("model", [["model=residual", "model_args={filters: [8, 8], l2: 0}"], [SMALL]])
def test_small_faces_first_and_whole_ones_last(
    model: list[str], quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    config = config_of(quick_config, *model, "epochs=3", "sides={1: 16, 2: 32, 3: 48}")
    assert [Batches(training, config, epoch=epoch)[0][0].shape for epoch in range(3)] == [
        (16, side, side, 1) for side in (16, 32, 48)
    ]
    heard: list[int] = []

    def report(epoch: int, metrics: object) -> None:
        heard.append(epoch)

    result = fit(config, training, validation, tmp_path, {}, Console(quiet=True), report=report)
    assert heard == [1, 2, 3]
    # What is kept is the ordinary model, for whole faces.
    assert load_run(tmp_path).input_shape == (None, 48, 48, 1)
    scores = softmax(load_run(tmp_path).predict(to_input(validation.images), verbose=0))
    assert score(scores, validation.labels).log_loss == pytest.approx(result.metrics.log_loss, abs=1e-3)


def test_a_run_that_stops_among_small_faces_stops_for_good_and_goes_on_where_it_was(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    config = config_of(quick_config, SMALL, "epochs=3", "sides={1: 32, 3: 48}")
    heard = []

    def report(epoch: int, metrics: object) -> None:
        heard.append(epoch)
        if epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        fit(config, training, validation, tmp_path, {}, Console(quiet=True), report=report)
    assert heard == [1, 2]
    fit(config, training, validation, tmp_path, {}, Console(quiet=True), report=report, resume=True)
    assert heard == [1, 2, 3]


def test_a_report_hears_of_each_epoch_and_may_stop_the_run(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    heard = []

    def report(epoch: int, metrics: object) -> None:
        heard.append(epoch)
        if epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        fit(config_of(quick_config), training, validation, tmp_path, {}, Console(quiet=True), report=report)
    assert heard == [1, 2]
    assert (tmp_path / "best.weights.h5").exists()
    assert not (tmp_path / "metrics.json").exists()


def test_a_mixture_of_csv_and_folder_is_trained_on(
    quick_config: Path, fer_csv: Path, faces: Callable[..., Split], write_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "mine", faces(21, seed=77))
    train("quick", [fer_csv, folder], out=tmp_path / "run", config=quick_config, overrides=["epochs=1"])
    data = load_facts(tmp_path / "run")["data"]
    assert [(source["name"], source["images"]) for source in data["sources"]] == [(fer_csv.name, 294), ("mine", 21)]
    # A share of the folder is held out, and validates beside PublicTest.
    assert 224 < data["training_images"] < 224 + 21


def test_small_faces_are_refused_where_a_network_cannot_see_them(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    config = config_of(quick_config, "sides={1: 32, 2: 48}")
    with pytest.raises(ConfigError, match="sides: random cannot see faces of side 32"):
        fit(config, training, validation, tmp_path, {}, Console(quiet=True))


def test_mistakes_on_the_command_line_are_found_before_anything_is_written(fer_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"no published model 'vgg'; known: .*residual"):
        train("vgg", [fer_csv], out=out)
    with pytest.raises(ConfigError, match="epoch: Extra inputs are not permitted"):
        train("residual", [fer_csv], out=out, overrides=["epoch=1"])
    with pytest.raises(ConfigError, match=r"ferplus: 0\.25 .* give --votes fer2013new\.csv, or .* --set ferplus=0"):
        train("residual", [fer_csv], out=out)
    with pytest.raises(ConfigError, match=r"model 'random': .*spec"):
        train("search", [fer_csv], out=out)
    with pytest.raises(DataError, match=r"missing\.csv"):
        train("residual", [tmp_path / "missing.csv"], out=out, overrides=["ferplus=0"])
    with pytest.raises(TrainerError, match=r"metrics\.json"):
        train("residual", [fer_csv], out=out, init=tmp_path, overrides=["ferplus=0"])
    assert not out.exists()


def test_too_few_images_and_missing_votes_are_named(
    quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    for wish, error, reason in (
        ("batch_size=500", TrainingError, "224 training images do not fill one batch of 500"),
        ("ferplus=0.3", ConfigError, "ferplus: 0.3 of the target .* give --votes"),
    ):
        with pytest.raises(error, match=reason):
            fit(config_of(quick_config, wish), training, validation, tmp_path, {}, Console(quiet=True))


def test_weights_of_another_model_are_refused(
    quick_config: Path, trained_run: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    config = config_of(quick_config, "model=residual", "model_args={filters: [8]}")
    with pytest.raises(ConfigError, match=re.escape(f"{trained_run}/best.weights.h5: cannot be loaded into residual")):
        fit(config, training, validation, tmp_path, {}, Console(quiet=True), init=trained_run)


def test_a_feed_repeats_itself_and_changes_by_epoch(quick_config: Path, training: Split) -> None:
    config = config_of(quick_config, "batch_size=32", "augment.mixup=0.3")
    first, second = Batches(training, config), Batches(training, config, epoch=1)
    assert len(first) == 224 // 32
    assert (first[3][0] != second[3][0]).any()
    first.begin(1)
    for mine, resumed in zip(first[3], second[3], strict=True):
        np.testing.assert_array_equal(mine, resumed)
    plain = Batches(training, config_of(quick_config, "batch_size=32"))
    labels = np.concatenate([plain[i][1].argmax(axis=1) for i in range(len(plain))])
    assert sorted(labels) == sorted(training.labels)


def test_the_average_is_the_formula_and_includes_running_statistics() -> None:
    layer = keras.layers.BatchNormalization()
    layer.build((None, 1))
    average = Average(layer.weights, decay=0.9)
    expected = 0.0
    for step in range(12):
        moving_mean = layer.weights[2]
        moving_mean.assign([float(10 * (step // 4))])
        if average.step():
            average.update()
            keep = min(0.9, (step - 2) / (step + 7)) ** 4
            expected = keep * expected + (1 - keep) * 10 * (step // 4)
    assert average.values[2][0] == pytest.approx(expected)
    assert 0 < expected < 20
    assert average.steps == 12


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_only_kernels_decay(quick_config: Path, kind: str) -> None:
    made = optimizer(config_of(quick_config, f"optimizer={kind}", "weight_decay=0.5", "warmup_epochs=0"), 10)
    layers = [keras.layers.Dense(2, bias_initializer="ones"), keras.layers.BatchNormalization()]
    keras.Sequential(layers).build((None, 3))
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    made.apply([keras.ops.zeros(variable.shape) for variable in variables], variables)
    changed = [bool((keras.ops.convert_to_numpy(v) != b).any()) for v, b in zip(variables, before, strict=True)]
    assert dict(zip([variable.name for variable in variables], changed, strict=True)) == {
        "kernel": True, "bias": False, "gamma": False, "beta": False,
    }  # fmt: skip


def test_the_learning_rate_warms_up_and_falls_to_zero(quick_config: Path) -> None:
    rates = schedule(config_of(quick_config, "epochs=4", "warmup_epochs=1", "learning_rate=0.1"), 10)
    assert [float(rates(step)) for step in (0, 5, 10, 25, 40)] == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-6)


def test_the_git_state_tells_a_changed_tree(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    file = tmp_path / "a.py"
    file.write_text("1")
    git("init")
    assert git_state(file) is None
    git("add", "a.py")
    git("commit", "-m", "a")
    clean = git_state(file)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    file.write_text("2")
    assert git_state(file) == {**clean, "dirty": True}
