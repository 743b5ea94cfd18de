"""A killed training goes on to what it would have come to."""

import csv
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trainer import run_directory
from trainer.data.split import Split
from trainer.errors import ConfigError, TrainingError
from trainer.run_directory import load_facts
from trainer.training import checkpoint
from trainer.training.callbacks import Stopped
from trainer.training.checkpoint import Checkpoint, Progress
from trainer.training.config import load_config
from trainer.training.fit import fit
from trainer.training.targets import Teacher

Trainer = Callable[..., subprocess.CompletedProcess[str]]


# Trains as `train` does, and is killed when two epochs are done: a report comes after the epoch's checkpoint.
DOOMED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from trainer.training.config import load_config
from trainer.data.dataset import load
from trainer.training.fit import fit

config, data, out = map(Path, sys.argv[1:])

def report(epoch, metrics):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)

training, validation = load([data]).require("Training", "PublicTest")
fit(load_config(config, []), training, validation, out, {}, Console(quiet=True), report=report)
"""


def last_row(run: Path) -> dict[str, str]:
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def test_after_kill_9_the_run_ends_as_the_uninterrupted_one(
    trained_run: Path, quick_config: Path, fer_csv: Path, tmp_path: Path, trainer: Trainer
) -> None:
    command = [sys.executable, "-c", DOOMED, str(quick_config), str(fer_csv), str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    begun = checkpoint.load(tmp_path / "checkpoint.npz")
    assert begun is not None
    assert begun.progress.epoch == 2
    assert not (tmp_path / "metrics.json").exists()
    done = trainer("train", "quick", "--config", quick_config, "--data", fer_csv, "--out", tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert "epoch 3/6" in done.stdout
    assert "epoch 2/6" not in done.stdout
    # The metrics of the best epoch prove nothing, it may be one of before the kill: compare where the runs ended.
    whole, resumed = (checkpoint.load(run / "checkpoint.npz") for run in (trained_run, tmp_path))
    assert whole is not None
    assert resumed is not None
    assert whole.progress.epoch == resumed.progress.epoch == 6
    assert whole.progress.steps == resumed.progress.steps
    for expected, found in zip(whole.average, resumed.average, strict=True):
        # Not equal: the threads of TensorFlow add up in another order each time.
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=5e-3)
    assert float(last_row(tmp_path)["log_loss"]) == pytest.approx(float(last_row(trained_run)["log_loss"]), rel=0.05)
    log, expected_log = ((run / "log.csv").read_text().splitlines() for run in (tmp_path, trained_run))
    assert [row.split(",")[0] for row in log] == [row.split(",")[0] for row in expected_log]


@pytest.fixture(scope="module")
def interrupted(
    tmp_path_factory: pytest.TempPathFactory, quick_config: Path, training: Split, validation: Split
) -> Path:
    """A run that stopped after its first epoch."""
    directory = tmp_path_factory.mktemp("interrupted")

    def report(epoch: int, metrics: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        fit(load_config(quick_config, []), training, validation, directory, {}, Console(quiet=True), report=report)
    return directory


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("learning_rate=0.5", "learning_rate: was 0.004 when this run began and is 0.5 now"),
        ("augment.mixup=0.5", "augment.mixup: was 0.0 when this run began and is 0.5 now"),
        ("epochs=60", "epochs: was 6 when this run began and is 60 now"),
    ],
)
def test_another_config_is_refused_and_the_key_named(
    interrupted: Path, quick_config: Path, training: Split, validation: Split, override: str, reason: str
) -> None:
    config = load_config(quick_config, [override])
    with pytest.raises(ConfigError, match=re.escape(reason)):
        fit(config, training, validation, interrupted, {}, Console(quiet=True), resume=True)


def test_other_data_and_other_first_weights_are_refused(
    interrupted: Path, quick_config: Path, trained_run: Path, training: Split, validation: Split
) -> None:
    config = load_config(quick_config, [])
    with pytest.raises(ConfigError, match="data: not the one that this run began with"):
        fit(config, training.take(np.arange(200)), validation, interrupted, {}, Console(quiet=True), resume=True)
    with pytest.raises(ConfigError, match="init: not the one that this run began with"):
        fit(config, training, validation, interrupted, {}, Console(quiet=True), resume=True, init=trained_run)


def test_a_finished_run_is_not_trained_further(
    trained_run: Path, quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    before = {name: (run / name).read_bytes() for name in ("log.csv", "metrics.json")}
    facts = {"data": load_facts(trained_run)["data"]}
    result = fit(load_config(quick_config, []), training, validation, run, facts, Console(quiet=True), resume=True)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert asdict(result.metrics) == load_facts(trained_run)["PublicTest"]


def test_results_without_a_checkpoint_are_not_deleted_by_resuming(
    trained_run: Path, quick_config: Path, training: Split, validation: Split, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "checkpoint.npz").unlink()
    with pytest.raises(TrainingError, match=r"has metrics\.json but no checkpoint\.npz .* --overwrite"):
        fit(load_config(quick_config, []), training, validation, run, {}, Console(quiet=True), resume=True)
    assert (run / "best.weights.h5").read_bytes() == (trained_run / "best.weights.h5").read_bytes()


def test_a_checkpoint_is_replaced_as_a_whole_and_a_broken_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.npz"
    one = Checkpoint(
        Progress({"config": {}}, 1, 9, 1, {}), [np.ones(3)], [np.arange(2)], [np.zeros((2, 2))], [np.ones(2)]
    )
    checkpoint.save(one, path)
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(one, path)
    assert path.read_bytes() == before
    read = checkpoint.load(path)
    assert read is not None
    assert read.progress == one.progress
    np.testing.assert_array_equal(read.average[0], one.average[0])
    path.write_bytes(before[:100])
    with pytest.raises(TrainingError, match="not a checkpoint"):
        checkpoint.load(path)
    assert checkpoint.load(tmp_path / "none.npz") is None


def test_a_run_directory_is_written_over_only_where_that_was_asked_for(tmp_path: Path) -> None:
    run_directory.require_unclaimed(tmp_path, resume=False, overwrite=False)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(TrainingError, match="holds a begun run"):
        run_directory.require_unclaimed(tmp_path, resume=False, overwrite=False)
    with pytest.raises(ConfigError, match="exclude each other"):
        run_directory.require_unclaimed(tmp_path, resume=True, overwrite=True)
    run_directory.require_unclaimed(tmp_path, resume=True, overwrite=False)
    run_directory.require_unclaimed(tmp_path, resume=False, overwrite=True)
    run_directory.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_an_earlier_release_began_goes_on(training: Split, validation: Split, tmp_path: Path) -> None:
    # Written by release 0.1.0 after the first of two epochs: with a teacher, and small faces in the first.
    run = tmp_path / "run"
    shutil.copytree(Path(__file__).parent / "interrupted_run", run)
    began = checkpoint.load(run / "checkpoint.npz")
    assert began is not None
    config = load_config(run / "config.yaml", [])
    sources = [{"name": "dense", "sha256": "ab" * 32, "temperature": 2.0}]
    teacher = Teacher(np.full((224, 7), 1 / 7, np.float32), {"sources": sources, "views": 2})
    # Today's `train` says what the data are; the one that began the run had only the digest of its splits.
    facts = {"data": {"sha256": "cd" * 32}}
    heard: list[int] = []

    def report(epoch: int, metrics: object) -> None:
        heard.append(epoch)

    console = Console(quiet=True)
    with pytest.raises(ConfigError, match="teacher: not the one"):
        fit(config, training, validation, run, facts, console, resume=True)
    with pytest.raises(ConfigError, match="data: not the one"):
        fit(config, training.take(np.arange(200)), validation, run, facts, console, resume=True, teacher=teacher)
    (run / ".partial-1-checkpoint.npz").touch()
    fit(config, training, validation, run, facts, console, resume=True, teacher=teacher, report=report)
    assert heard == [2]
    assert not list(run.glob(".partial-*"))
    assert load_config(run / "config.yaml", []) == config
    ended = checkpoint.load(run / "checkpoint.npz")
    assert ended is not None
    assert (ended.progress.epoch, ended.progress.steps) == (2, 2 * began.progress.steps)
    for key in ("data", "init", "teacher"):
        assert ended.progress.identity[key] == began.progress.identity[key]
    assert [row.split(",")[0] for row in (run / "log.csv").read_text().splitlines()] == ["epoch", "1", "2"]
