"""Running a study: trials in processes of their own that may crash, hang or be killed; workers that may be killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from trainer.commands.search import app
from trainer.data.dataset import Dataset
from trainer.data.split import Split
from trainer.errors import TrainingError
from trainer.networks.spec import to_json
from trainer.networks.spec_cost import Budget
from trainer.search.crew import run_workers
from trainer.search.plan import Plan
from trainer.search.study import Outcome, bind, create_study, open_study, outcomes
from trainer.search.trial import Job, load_arrays, parts_of, save_arrays
from trainer.search.worker import Worker
from trainer.training.config import TrainConfig

# Answers as a training does, as fast as Python starts; what comes of it is up to the number of the child.
CHILD = """
import json, os, pathlib, sys, time
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
calls = pathlib.Path(__file__).with_name("calls")
# Where its own append ended: two children that begin at once get two numbers.
fd = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(fd, b"x")
number = os.lseek(fd, 0, os.SEEK_CUR)
def say(epoch, accuracy, fold=0):
    print(json.dumps({"epoch": epoch, "fold": fold, "accuracy": accuracy}), flush=True)
"""
LEARN = """
for fold in range(max(1, job["folds"])):
    for epoch in range(1, job["config"]["epochs"] + 1):
        say(epoch, ACCURACY, fold)
"""
PLAN = Plan("efficient", TrainConfig(model="random", epochs=9), Budget(max_macs=30_000_000), trials=4)


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Site:
    """A study with children that are Python scripts."""

    def __init__(self, folder: Path, script: str, plan: Plan) -> None:
        self.location = str(folder / "s.journal")
        self.child = folder / "child.py"
        self.child.write_text(CHILD + script)
        self.news: list[str] = []
        create_study("s", self.location, plan)

    def worker(self, stop: threading.Event, number: int = 0, timeout: float = 30) -> Worker:
        return Worker(
            "s",
            self.location,
            self.child.parent,
            number=number,
            timeout=timeout,
            stop=stop,
            listen=lambda _, line: self.news.append(line),
            command=[sys.executable, "-S", str(self.child)],
        )

    def run(self, **options: Any) -> list[Outcome]:
        self.worker(threading.Event(), **options).run()
        return self.outcomes()

    def outcomes(self) -> list[Outcome]:
        return outcomes(open_study("s", self.location)[0])


def test_a_segmentation_fault_fails_one_trial_alone(tmp_path: Path) -> None:
    crash = (
        "if number == 2:\n    say(1, 0.9); print('going down', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)"
    )
    found = Site(tmp_path, crash + LEARN.replace("ACCURACY", "0.5 + number / 100"), PLAN).run()
    assert [outcome.state for outcome in found].count("failed") == 1
    assert found[1].state == "failed"
    assert found[1].error == "SIGSEGV: going down"
    assert found[1].accuracy == 0.9
    assert len(found) == 4


def test_a_hang_and_a_refusal_fail_their_trials(tmp_path: Path) -> None:
    script = (
        "if number == 1: time.sleep(60)\n"
        "if number == 2: print('error: the loss became nan', file=sys.stderr); sys.exit(1)\n"
    )
    found = Site(tmp_path, script + LEARN.replace("ACCURACY", "0.5"), PLAN).run(timeout=10)
    assert found[0].error == "no epoch finished in 10 s"
    assert found[1].error == "exit status 1: the loss became nan"
    assert [outcome.state for outcome in found[2:]] != ["failed", "failed"]


def test_hyperband_ends_poor_trials_early_and_the_best_is_complete(tmp_path: Path) -> None:
    plan = Plan("efficient", TrainConfig(model="random", epochs=9), Budget(), trials=12)
    found = Site(tmp_path, LEARN.replace("ACCURACY", "0.9 - number / 100 + epoch / 1000"), plan).run()
    states = [outcome.state for outcome in found]
    assert set(states) == {"complete", "pruned"}
    assert found[0].state == "complete"
    assert found[0].history == pytest.approx([0.89 + epoch / 1000 for epoch in range(1, 10)])
    assert found[0].accuracy == pytest.approx(0.899)
    pruned = [outcome for outcome in found if outcome.state == "pruned"]
    assert all(len(outcome.history) < 9 and outcome.accuracy is not None for outcome in pruned)


def test_cross_validation_scores_the_mean_of_the_folds(tmp_path: Path) -> None:
    plan = Plan("efficient", TrainConfig(model="random", epochs=2), Budget(), 1, objective="cross-validation", folds=3)
    found = Site(tmp_path, LEARN.replace("ACCURACY", "fold / 10 + epoch / 100"), plan).run()
    assert found[0].accuracy == pytest.approx(0.1 + 0.02)
    assert found[0].history == pytest.approx([0.01, 0.02])


def test_a_worker_told_to_stop_ends_its_child_and_queues_the_architecture(tmp_path: Path) -> None:
    hang = "calls.with_name(f'pid{number}').write_text(str(os.getpid()))\nif number == 1: time.sleep(60)\n"
    site = Site(tmp_path, hang + LEARN.replace("ACCURACY", "0.5"), PLAN)
    stop = threading.Event()
    thread = threading.Thread(target=site.worker(stop).run)
    thread.start()
    pid = tmp_path / "pid1"
    wait_for(lambda: pid.exists() and pid.read_text())
    begun = site.outcomes()[0].spec
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert site.outcomes() == []
    found = site.run()
    assert [outcome.spec for outcome in found].count(begun) == 1
    assert len(found) == 4


def test_a_set_up_that_cannot_train_ends_the_search_and_costs_no_architecture(tmp_path: Path) -> None:
    site = Site(tmp_path, "print('error: no votes', file=sys.stderr); sys.exit(2)", PLAN)
    with pytest.raises(TrainingError, match="no architecture can be trained: no votes"):
        site.run()
    assert site.outcomes() == []


def test_two_workers_share_a_study_and_sigterm_ends_both(tmp_path: Path) -> None:
    hang = "if number > 3: time.sleep(60)\n"
    site = Site(tmp_path, hang + LEARN.replace("ACCURACY", "0.5"), Plan(**{**vars(PLAN), "trials": 9}))

    def end() -> None:
        wait_for(lambda: (tmp_path / "calls").exists() and (tmp_path / "calls").stat().st_size >= 5)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    ending = threading.Thread(target=end)
    ending.start()
    done = run_workers(lambda number, stop, _: site.worker(stop, number), 2, Console(quiet=True))
    ending.join()
    assert not done
    assert signal.getsignal(signal.SIGTERM) is before
    assert [outcome.state for outcome in site.outcomes()] == ["complete"] * 3
    assert sum("queued again" in line for line in site.news) == 2


def test_a_worker_that_fails_ends_the_others(tmp_path: Path) -> None:
    site = Site(tmp_path, "time.sleep(60)", PLAN)

    class Broken:
        def run(self) -> None:
            wait_for(lambda: site.news)
            raise OSError("no space left")

    def make(number: int, stop: threading.Event, _: Any) -> Any:
        return Broken() if number else site.worker(stop)

    with pytest.raises(TrainingError, match="a worker failed: OSError: no space left"):
        run_workers(make, 2, Console(quiet=True))
    assert site.outcomes() == []


def test_a_trial_gets_its_share_of_images_or_its_folds(tmp_path: Path, training: Split, validation: Split) -> None:
    save_arrays(training, validation, tmp_path)
    kept, held = load_arrays(tmp_path)
    job = Job({}, str(tmp_path), "", share=0.5, folds=0, seed=3, threads=0)
    ((part, scored),) = parts_of(job, kept, held)
    assert len(part) == 112
    assert (scored.images == validation.images).all()
    folds = parts_of(Job(**{**vars(job), "folds": 4, "share": 1.0}), kept, held)
    assert [(len(train), len(test)) for train, test in folds] == [(168, 56)] * 4
    tests = {image.tobytes() for _, test in folds for image in test.images}
    assert tests == {image.tobytes() for image in training.images}
    for train, test in folds:
        assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Path, list[str]]:
    config = tmp_path / "search.yaml"
    config.write_text("{model: random, epochs: 2, batch_size: 64, warmup_epochs: 0, ema: 0.5, augment: {erase: 0}}")
    storage = tmp_path / "searches" / "real.journal"
    options = [
        "--space",
        "tutorial",
        "--trials",
        "2",
        "--max-mmacs",
        "6",
        "--max-parameters",
        "40000",
        "--min-epochs",
        "2",
    ]
    made = CliRunner().invoke(app, ["create", "real", *options, "--config", str(config), "--storage", str(storage)])
    assert made.exit_code == 0, made.output
    return storage, [sys.executable, "-m", "trainer", "search", "run", "real", "--storage", str(storage), "--data"]


def test_a_killed_worker_process_ends_its_training_and_another_process_takes_it_up(
    searched: tuple[Path, list[str]], fer_csv: Path
) -> None:
    storage, command = searched
    command = [*command, str(fer_csv)]
    doomed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert doomed.stdout is not None
    other = child = None
    try:
        assert "begins" in doomed.stdout.readline()
        study, _ = open_study("real", str(storage))
        begun = outcomes(study)[0]
        child = only_child(doomed.pid)
        # Its training must not be over before the other worker, who has to start first, has begun one. Before its exec
        # it would stop with copies of the worker's open files, and of the locks on them.
        wait_for(lambda: b"trainer.search.trial" in Path(f"/proc/{child}/cmdline").read_bytes())
        os.kill(child, signal.SIGSTOP)
        other = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: len(outcomes(study)) == 2)
        doomed.kill()
        doomed.wait()
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: not Path(f"/proc/{child}").exists(), 40)
        output, errors = other.communicate(timeout=100)
    finally:
        for process in (doomed, other):
            if process is not None:
                process.kill()
                process.communicate()
        if child is not None:
            # Still stopped, if anything above failed, it could not end with its parent.
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGCONT)
    assert other.returncode == 0, errors
    assert "next: python -m trainer search report real" in output
    found = outcomes(study)
    # Which architectures they are is up to the sampler; one that cannot be trained at that rate may have failed.
    assert {outcome.state for outcome in found} <= {"complete", "failed"}
    assert len(found) == 2
    assert len({json.dumps(to_json(outcome.spec)) for outcome in found}) == 2
    again = next(outcome for outcome in found if outcome.spec == begun.spec)
    assert again.number > begun.number
    complete = [outcome for outcome in found if outcome.state == "complete"]
    assert all(len(outcome.history) == 2 and outcome.accuracy == max(outcome.history) for outcome in complete)


def only_child(pid: int) -> int:
    """The only child of a process, started by any of its threads."""

    def children() -> str:
        return "".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children"))

    wait_for(children)
    return int(children())


def test_a_study_is_not_run_on_other_data(
    searched: tuple[Path, list[str]], tmp_path: Path, training: Split, validation: Split
) -> None:
    storage, command = searched
    data = Dataset({"Training": training, "PublicTest": validation})
    bind(open_study("real", str(storage))[0], data.facts)
    save_arrays(training, validation, tmp_path / "arrays")
    other = tmp_path / "other.csv"
    pixels = " ".join(["9"] * 48 * 48)
    other.write_text(f"emotion,pixels,Usage\n0,{pixels},Training\n1,{pixels},PublicTest\n")
    result = CliRunner().invoke(app, [*command[4:], str(other)])
    assert result.exit_code == 1
    assert "study 'real' began with other data" in str(result.exception)
    assert (load_arrays(tmp_path / "arrays")[0].images == training.images).all()
