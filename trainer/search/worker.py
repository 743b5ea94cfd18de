"""Claim, train, report, again: what one worker of a search does."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.trial import TrialState

from trainer.errors import TrainingError
from trainer.networks.spec import spec_digest, to_json
from trainer.search.claim import HEARTBEAT_S, Claim, claim, lock, requeue
from trainer.search.plan import Plan
from trainer.search.study import open_study
from trainer.search.trial import UNUSABLE, Job

Listen = Callable[[int, str], None]
"""Told of a worker's news: the worker's number, and one line."""


class Worker:
    """Trains claimed architectures until the study has its trials.

    Args:
        name, location: the study and its storage.
        arrays: directory of the images (`trainer.search.trial.save_arrays`).
        number: 0, 1, ...: tells the workers of one machine apart.
        threads: CPU threads of each training; 0 leaves them to the backend.
        timeout: seconds that an epoch may take before the trial counts as hung.
        stop: set it to end the work in hand and queue its architecture again.
        listen: told each event.
        command: what trains; gets the path of a `Job` and answers as `trainer.search.trial` does.

    Raises:
        ConfigError: no such study.
    """

    def __init__(
        self,
        name: str,
        location: str,
        arrays: Path,
        *,
        number: int = 0,
        threads: int = 0,
        timeout: float = 1800,
        stop: threading.Event,
        listen: Listen,
        command: Sequence[str] = (sys.executable, "-m", "trainer.search.trial"),
    ) -> None:
        self._name = name
        self._location = location
        self._arrays = arrays
        self._number = number
        self._threads = threads
        self._timeout = timeout
        self._stop = stop
        self._listen = listen
        self._command = list(command)
        self._study, self._plan = open_study(name, location, worker=number)

    def run(self) -> None:
        """Work until there is nothing left to claim, or `stop` is set.

        Raises:
            TrainingError: children cannot train at all, or the space is exhausted.
        """
        while not self._stop.is_set():
            claimed = claim(self._study, self._plan, self._location)
            if claimed is None:
                return
            self._say(f"trial {claimed.trial.number}: {spec_digest(claimed.spec)} begins")
            try:
                self._train(claimed)
            except optuna.exceptions.UpdateFinishedTrialError:
                self._say(f"trial {claimed.trial.number}: taken for dead, and another worker has it now")

    def _train(self, claimed: Claim) -> None:
        trial = claimed.trial
        with tempfile.TemporaryDirectory(prefix="search-trial-") as scratch:
            directory = Path(scratch)
            job = directory / "job.json"
            self._job(claimed, directory).write(job)
            with (
                (directory / "log").open("wb") as log,
                _child([*self._command, str(job)], log) as child,
                _heartbeat(trial),
            ):
                verdict = self._follow(trial, *child)
            if verdict is None:
                self._requeue(trial)
                self._say(f"trial {trial.number}: stopped, queued again")
                return
            state, value, error = verdict
            if error is not None:
                last = (directory / "log").read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
                last = last.removeprefix("error: ")
                if error == _UNUSABLE:
                    self._requeue(trial)
                    raise TrainingError(f"no architecture can be trained: {last}")
                error = f"{error}: {last}" if last else error
                trial.set_user_attr("error", error)
            if value is not None:
                trial.set_user_attr("accuracy", value)
        # A trial without a value cannot be complete; a pruned one keeps its last report as value.
        self._study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
        shown = error or (f"{value:.4f}" if value is not None else "nothing")
        self._say(f"trial {trial.number}: {state.name.lower()}, {shown}")

    def _requeue(self, trial: optuna.Trial) -> None:
        with lock(self._name, self._location):
            requeue(self._study, self._study.get_trials()[trial.number])

    def _job(self, claimed: Claim, directory: Path) -> Job:
        plan: Plan = self._plan
        train = plan.train.model_copy(update={"model": "random", "model_args": {"spec": to_json(claimed.spec)}})
        return Job(
            config=train.model_dump(mode="json"),
            arrays=str(self._arrays.resolve()),
            directory=str(directory / "run"),
            share=plan.share,
            folds=plan.folds if plan.objective == "cross-validation" else 0,
            seed=plan.seed,
            threads=self._threads,
        )

    def _follow(
        self, trial: optuna.Trial, child: subprocess.Popen[str], lines: "queue.Queue[str | None]"
    ) -> tuple[TrialState, float | None, str | None] | None:
        """Pass the child's reports on to the study until it ends; None if we were told to stop."""
        best: dict[int, float] = {}
        deadline = time.monotonic() + self._timeout
        while True:
            if self._stop.is_set():
                return None
            try:
                line = lines.get(timeout=0.5)
            except queue.Empty:
                if time.monotonic() > deadline:
                    return TrialState.FAIL, _mean(best), f"no epoch finished in {self._timeout:.0f} s"
                continue
            if line is None:
                break
            deadline = time.monotonic() + self._timeout
            report: dict[str, Any] = json.loads(line)
            fold, accuracy = report["fold"], report["accuracy"]
            best[fold] = max(best.get(fold, 0.0), accuracy)
            self._say(f"trial {trial.number}: fold {fold}, epoch {report['epoch']}, accuracy {accuracy:.4f}")
            # Hyperband judges the first fold; an architecture that survives it is trained on the others to the end.
            if fold == 0:
                trial.report(accuracy, report["epoch"])
                # Nothing is saved at the last epoch, where Hyperband would still tell the better from the worse.
                if report["epoch"] < self._plan.train.epochs and trial.should_prune():
                    return TrialState.PRUNED, _mean(best), None
        status = child.wait()
        if status == 0 and best:
            return TrialState.COMPLETE, _mean(best), None
        cause = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return TrialState.FAIL, _mean(best), cause

    def _say(self, line: str) -> None:
        self._listen(self._number, line)


_UNUSABLE = f"exit status {UNUSABLE}"


@contextlib.contextmanager
def _child(command: list[str], log: IO[bytes]) -> Iterator[tuple[subprocess.Popen[str], "queue.Queue[str | None]"]]:
    """A running child and the lines of its standard output, None after the last one. Killed at the end."""
    # No shell; a search starts its own worker.
    child = subprocess.Popen(  # noqa: S603  # nosec B603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        # A session of its own: Ctrl-C is for us, who then end the child and queue its architecture again.
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    lines: queue.Queue[str | None] = queue.Queue()
    pump = threading.Thread(target=_pump, args=(child, lines), daemon=True)
    pump.start()
    try:
        yield child, lines
    finally:
        child.kill()
        pump.join()
        # Closes the pipes and waits.
        child.__exit__(None, None, None)


@contextlib.contextmanager
def _heartbeat(trial: optuna.Trial) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_S):
            # A database that cannot be reached for a moment costs a beat. Should the trial be given away meanwhile,
            # the worker learns of it from its next report.
            with contextlib.suppress(Exception):
                trial.set_user_attr("heartbeat", time.time())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _pump(child: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put(None)


def _mean(best: dict[int, float]) -> float | None:
    return sum(best.values()) / len(best) if best else None
