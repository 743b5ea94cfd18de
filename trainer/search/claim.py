"""The next architecture to train: affordable, and never trained before, whichever worker asks."""

import contextlib
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from trainer.errors import TrainingError
from trainer.networks.spec import ArchitectureSpec, spec_digest, to_json
from trainer.networks.spec_cost import cost
from trainer.search.plan import Plan
from trainer.search.space import SPACES, objection
from trainer.search.study import database_url, was_trained

HEARTBEAT_S = 10
STALE_S = 90
"""A trial whose worker has not said anything for so long is taken to be dead."""
ATTEMPTS = 2_000


@dataclass(frozen=True)
class Claim:
    """A trial that this worker, and no other, is to train."""

    trial: optuna.Trial
    spec: ArchitectureSpec


def claim(study: optuna.Study, plan: Plan, location: str) -> Claim | None:
    """Ask for the next trial; None when the study has all its trials.

    The tutorial asked a web service whether a network's hash was known. Here the study knows, and one worker at a time
    looks: asking, comparing and recording happen under one lock, so that two workers cannot claim the same spec.

    Raises:
        TrainingError: so many samples in a row were refused that the space must be exhausted.
    """
    with lock(study.study_name, location):
        requeue_stale(study)
        trials = study.get_trials(deepcopy=False)
        known = {trial.user_attrs["digest"] for trial in trials if was_trained(trial)}
        for _ in range(ATTEMPTS):
            if len(known) >= plan.trials and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            trial = study.ask()
            spec = SPACES[plan.space](trial.suggest_categorical)
            name = spec_digest(spec)
            reason = objection(spec, plan.budget, plan.train.smallest_side) or (
                f"trained already: {name}" if name in known else None
            )
            if reason is None:
                price = cost(spec)
                for key, value in (
                    ("worker", identity()),
                    ("heartbeat", time.time()),
                    ("parameters", price.parameters),
                    ("macs", price.macs),
                    ("digest", name),
                    # Last: a trial with a spec has all the rest, wherever this worker is killed.
                    ("spec", to_json(spec)),
                ):
                    trial.set_user_attr(key, value)
                return Claim(trial, spec)
            trial.set_user_attr("rejected", reason)
            study.tell(trial, state=TrialState.FAIL)
    raise TrainingError(f"{ATTEMPTS} samples in a row were refused, the last one: {reason}; widen budget or space")


def requeue_stale(study: optuna.Study) -> None:
    """Give the trials of dead workers back to the queue. Call it under `lock`."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial):
            requeue(study, trial)


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """End a running trial that was not trained to its end, and queue its architecture again."""
    # A queued trial that died before it took its parameters up has them as fixed ones.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if params and "error" not in trial.user_attrs:
        # Before it is ended: killed in between, we leave it queued twice, and the second is refused as known.
        study.enqueue_trial(params)
    with contextlib.suppress(ValueError):  # it ended after all, between our look at it and now
        study.tell(trial.number, state=TrialState.FAIL)


def identity() -> str:
    """This process: machine, process id and its start time, since process ids are used again."""
    return f"{machine()}:{os.getpid()}:{_started(os.getpid())}"


def machine() -> str:
    """The machine whose process ids `identity` is about: host, and the namespace of process ids where there is one."""
    # Containers may share a host's name, but not its process ids.
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


@contextlib.contextmanager
def lock(name: str, location: str) -> Iterator[None]:
    """Exclusive to one worker of the study: a lock that the system releases when its holder dies."""
    if "://" not in location:
        # Not JOURNAL.lock, which is held for each single record.
        with Path(f"{location}.claim").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    engine = sqlalchemy.create_engine(
        database_url(location), poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
    )
    # An advisory lock belongs to the connection and ends with it.
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({key})")
        yield


def _is_dead(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get("worker")
    if worker is None:
        # Asked for under the lock, which we hold: its worker died before it could sign.
        return True
    home, process, started = str(worker).rsplit(":", 2)
    # Without /proc, nobody has a start.
    if started and home == machine():
        return _started(int(process)) != started
    return time.time() - float(trial.user_attrs.get("heartbeat", 0)) > STALE_S


def _started(process: int) -> str:
    """When a process of this machine started, in clock ticks since boot; empty if there is none such."""
    try:
        # Field 22 of /proc/PID/stat; the second one, the name, may hold spaces and brackets.
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
