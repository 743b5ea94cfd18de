"""The study: where it is stored, what its trials train, and what they found."""

import fcntl
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from trainer.errors import ConfigError
from trainer.networks.spec import ArchitectureSpec, from_json, to_json
from trainer.search.plan import Plan
from trainer.search.space import objection, parameters

optuna.logging.set_verbosity(optuna.logging.WARNING)

_PLAN = "plan"
_DATA = "data"
_RECORD = b'{"op_code"'
"""How Optuna begins each line of a journal."""


class JournalLock:
    """Guards single records of a journal file: unlike Optuna's own lock it ends with its holder.

    After a kill -9 nobody waits for a grace period, and a record that was cut short is taken off before the next one is
    written behind it.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        file = Path(f"{self._journal}.lock").open("wb")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held = file
        with self._journal.open("rb+") as journal:
            end = journal.seek(0, os.SEEK_END)
            journal.seek(max(0, end - 1))
            if end and journal.read() != b"\n":
                journal.seek(0)
                journal.truncate(journal.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        if self._held:
            self._held.close()


def open_storage(location: str) -> optuna.storages.BaseStorage:
    """A journal file, or a PostgreSQL database by its URL.

    Raises:
        ConfigError: another kind of database, such as SQLite, which loses workers that start together; no such
            database; or a file that cannot be written, or is not a journal.
    """
    try:
        if "://" in location:
            storage = optuna.storages.RDBStorage(database_url(location))
            # Its connections, which the pool would keep open, go with it.
            weakref.finalize(storage, storage.engine.dispose)
            return storage
        path = Path(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Before the lock, which takes a last line without an end for a record that was cut short.
        if not _may_be_journal(path):
            raise ConfigError(f"storage: {location}: exists, and is not a journal of searches")
        lock = JournalLock(path)
        return optuna.storages.JournalStorage(JournalFileBackend(location, lock_obj=lock))  # type: ignore[arg-type]
    except ConfigError:
        raise
    except Exception as error:  # SQLAlchemy, the driver and Optuna raise kinds of their own for an absent server
        raise ConfigError(f"storage: {_masked(location)}: {_first_line(error)}") from error


def _may_be_journal(path: Path) -> bool:
    if not path.exists():
        return True
    with path.open("rb") as file:
        start = file.read(len(_RECORD))
    # The first record may have been cut short itself.
    return _RECORD.startswith(start)


def database_url(location: str) -> str:
    """The URL as SQLAlchemy wants it, with the driver that the trainer installs.

    Raises:
        ConfigError: not PostgreSQL's.
    """
    scheme, _, rest = location.partition("://")
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ConfigError(f"storage: {scheme}: not supported for several workers; use a journal file or postgresql://")
    return f"postgresql+psycopg://{rest}"


def create_study(
    name: str, location: str, plan: Plan, *, enqueue: Sequence[ArchitectureSpec] = (), exist_ok: bool = False
) -> optuna.Study:
    """Make a study, in a step of its own, so that workers never race to create it.

    Args:
        enqueue: architectures to be trained first, in this order, before any is sampled.
        exist_ok: return a study of that name that has this very plan, as a job that may be started again wants.

    Raises:
        ConfigError: a study of that name exists, or with `exist_ok` one of another plan; or an enqueued architecture is
            not of the plan's space or budget.
    """
    first = [parameters(plan.space, spec) for spec in enqueue]
    for spec in enqueue:
        if reason := objection(spec, plan.budget, plan.train.smallest_side):
            raise ConfigError(f"enqueue: {to_json(spec)}: {reason}")
    storage = open_storage(location)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError as error:
        exists = f"study {name!r} exists in {_masked(location)}"
        if not exist_ok:
            raise ConfigError(f"{exists}; `search run` goes on with it") from error
        study = optuna.load_study(storage=storage, study_name=name)
        # Without a plan, whoever made it was killed before the next line.
        stored = study.user_attrs.get(_PLAN)
        wanted = json.loads(json.dumps(plan.to_json()))
        if stored is not None and stored != wanted:
            changed = ", ".join(key for key in wanted if stored.get(key) != wanted[key])
            raise ConfigError(f"{exists} with another plan: other {changed}") from error
    if _PLAN not in study.user_attrs:
        for choices in first:
            study.enqueue_trial(choices, skip_if_exists=True)
    study.set_user_attr(_PLAN, plan.to_json())
    return study


def bind(study: optuna.Study, data: Mapping[str, Any]) -> None:
    """Tie a study to its data at the first run; scores on other data would not compare.

    Args:
        data: `trainer.data.dataset.Dataset.facts`.

    Raises:
        ConfigError: the study began with other data.
    """
    began = study.user_attrs.get(_DATA)
    if began is None:
        study.set_user_attr(_DATA, dict(data))
    elif began["sha256"] != data["sha256"]:
        names = ", ".join(source["name"] for source in began["sources"])
        raise ConfigError(
            f"study {study.study_name!r} began with other data ({names}; sha256 {began['sha256'][:12]}, not"
            f" {data['sha256'][:12]}); go on with that, or create another study"
        )


def open_study(name: str, location: str, *, worker: int = 0) -> tuple[optuna.Study, Plan]:
    """A study as one worker sees it, with the plan's sampler and Hyperband pruner.

    Raises:
        ConfigError: no such study.
    """
    if "://" not in location and not Path(location).is_file():
        raise ConfigError(f"no study in {location}: the file does not exist; `search create` makes one")
    storage = open_storage(location)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        known = ", ".join(optuna.get_all_study_names(storage)) or "none"
        raise ConfigError(f"no study {name!r} in {_masked(location)}; there is {known}") from error
    if _PLAN not in study.user_attrs:
        raise ConfigError(f"study {name!r} in {_masked(location)} has no plan: `search create` did not make it")
    plan = Plan.from_json(study.user_attrs[_PLAN])
    seed = plan.seed + 1009 * len(study.get_trials(deepcopy=False)) + worker
    if plan.sampler == "tpe":
        # constant_liar: a running trial counts as a poor one, so that workers do not all try the same.
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=10)
    else:
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    study.pruner = optuna.pruners.HyperbandPruner(
        min_resource=plan.min_epochs, max_resource=plan.train.epochs, reduction_factor=3
    )
    return study, plan


@dataclass(frozen=True)
class Outcome:
    """One trained architecture."""

    # Of the trial.
    number: int
    # `complete`, `pruned`, `failed` or `running`.
    state: str
    # What was trained.
    spec: ArchitectureSpec
    # Best over the epochs so far (mean over folds, if cross-validated); None before the first.
    accuracy: float | None
    # Accuracy after each epoch.
    history: tuple[float, ...]
    # Its cost.
    parameters: int
    macs: int
    # Spent on it; None while it runs.
    seconds: float | None
    # Why it failed.
    error: str | None


_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def outcomes(study: optuna.Study) -> list[Outcome]:
    """Every architecture that was trained or is being trained, in trial order.

    Left out: specs refused before training, and trials whose worker died, which were queued again.
    """
    return [_outcome(trial) for trial in study.get_trials(deepcopy=False) if was_trained(trial)]


def was_trained(trial: FrozenTrial) -> bool:
    """Whether a trial stands for an architecture that was, or is being, trained.

    Not so: a sample refused before training has no spec; one whose worker died failed without an error of its own.
    """
    attributes = trial.user_attrs
    return "spec" in attributes and (trial.state != TrialState.FAIL or "error" in attributes)


def _outcome(trial: FrozenTrial) -> Outcome:
    history = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
    attributes = trial.user_attrs
    best = attributes.get("accuracy", max(history, default=None))
    return Outcome(
        number=trial.number,
        state=_STATES[trial.state],
        spec=from_json(attributes["spec"]),
        accuracy=best,
        history=history,
        parameters=attributes["parameters"],
        macs=attributes["macs"],
        seconds=trial.duration.total_seconds() if trial.duration else None,
        error=attributes.get("error"),
    )


def dump_outcome(outcome: Outcome) -> dict[str, Any]:
    """JSON-able form of an outcome."""
    values: dict[str, Any] = json.loads(json.dumps({**asdict(outcome), "spec": to_json(outcome.spec)}))
    return values


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _masked(location: str) -> str:
    """The location without its password."""
    scheme, separator, rest = location.partition("://")
    credentials, at, address = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}{separator}{user}{at}{address}" if separator else location
