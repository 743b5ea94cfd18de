"""Loads, routes and unloads versions, without dropping a call in flight."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ServingError, as_serving_error, failed_precondition, invalid_argument, not_found
from serving.policy import aspired_versions
from serving.savedmodel import SavedModel
from wire.serving_pb2 import ModelConfig, ModelSpec, ModelVersionStatus, StatusProto

log = logging.getLogger(__name__)

State = ModelVersionStatus.State


@dataclass(eq=False)
class Servable:
    """One version on its way through START, LOADING, AVAILABLE, UNLOADING and END.

    From AVAILABLE to END it has a model. The manager's lock guards the fields.
    """

    name: str
    version: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    model: SavedModel | None = None
    in_flight: int = 0
    fingerprint: frozenset[tuple[str, int, int]] = field(default_factory=frozenset)

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    def status(self) -> ModelVersionStatus:
        """What GetModelStatus says about it."""
        status = StatusProto()
        if self.error is not None:
            status.error_code, status.error_message = self.error.code.value[0], str(self.error)
        return ModelVersionStatus(version=self.version, state=self.state, status=status)

    def worth_loading(self, path: Path) -> bool:
        """Whether a version that is wanted (again), now from `path`, should be loaded anew.

        Not while it serves, and not if it failed and would only fail again on the same files.
        """
        if self.state == State.END:
            return self.error is None or directory_fingerprint(path) != self.fingerprint
        return self.state == State.UNLOADING


class ModelManager:
    """The models of one configuration and the state of each of their versions.

    `reload` and `sync` load and unload in the calling thread, one at a time. `acquire` and `statuses` never wait for
    them. A version leaves the routing only once another wanted version of its model is AVAILABLE, or when none is
    wanted any more. Calls that hold it finish on it first.
    """

    def __init__(self, *, allow_labels_for_unavailable: bool = False) -> None:
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._change = threading.Lock()  # held through a whole reload or sync
        self._lock = threading.Lock()  # guards the fields below, for moments only
        self._models: dict[str, ModelConfig] = {}
        self._servables: dict[str, dict[int, Servable]] = {}
        self._complaints: dict[str, str] = {}
        self._closed = False

    # Requests

    @contextmanager
    def acquire(self, spec: ModelSpec) -> Iterator[tuple[int, SavedModel]]:
        """The version that should answer and its model, kept loaded until the block ends.

        Without version and label that is the highest AVAILABLE one.

        Raises:
            ServingError: INVALID_ARGUMENT for an empty name or an unknown label, NOT_FOUND for a model or version that
                is not AVAILABLE.
        """
        with self._lock:
            servable = self._route(spec)
            servable.in_flight += 1
            model = servable.model
        assert model is not None  # AVAILABLE implies a model
        try:
            yield servable.version, model
        finally:
            with self._lock:
                servable.in_flight -= 1
                self._end_if_idle(servable)

    def statuses(self, name: str, version: int | None = None) -> list[ModelVersionStatus]:
        """Every version ever seen of a model, newest first, or only `version`.

        Versions that were unloaded stay listed as END, as in TensorFlow Serving.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._lock:
            known = self._servables.get(name, {})
            if version is not None and version not in known:
                raise not_found(f"Could not find version {version} of model {name}")
            if not known:
                raise not_found(f"Could not find any versions of model {name}")
            return [known[v].status() for v in sorted(known, reverse=True) if version in (None, v)]

    # Changes

    def reload(self, models: Mapping[str, ModelConfig]) -> str:
        """Replace the whole list of models and return once everything it asks for is AVAILABLE or has failed.

        Returns:
            Why of models that are new to the list no version became AVAILABLE, in TensorFlow Serving's words; empty if
            each has one.

        Raises:
            ServingError: FAILED_PRECONDITION, and nothing has changed. Labels are applied first, and one points at a
                version that is not AVAILABLE (`allow_labels_for_unavailable` lets new labels pass).
        """
        with self._change:
            with self._lock:
                for model in models.values():
                    self._check_labels(model)
                added = models.keys() - self._models.keys()
                self._models = dict(models)
            self._sync()
            lacking = [f"{{{name}: {self._why(name)}}}" for name in sorted(added) if not self._available(name)]
            return f"{len(lacking)} model(s) did not become available: {{{', '.join(lacking)}}}" if lacking else ""

    def sync(self) -> None:
        """Look at the directories once: load versions that came, unload versions that went."""
        with self._change:
            self._sync()

    def close(self) -> None:
        """Make a reload or sync that is under way stop before its next load."""
        self._closed = True

    def _sync(self) -> None:
        for name in self._servables.keys() - self._models.keys():
            self._unload_others(name, wanted=set())
        # All of them are registered before the first is loaded, so that GetModelStatus knows what is to come.
        plans = {name: self._register(model) for name, model in self._models.items()}
        for name, wanted in plans.items():
            if wanted is None:
                continue
            for servable in [self._servables[name][version] for version in sorted(wanted)]:
                if servable.state == State.START and not self._closed:
                    self._load(servable)
            if not wanted or wanted & self._available(name):
                self._unload_others(name, wanted)

    def _register(self, model: ModelConfig) -> set[int] | None:
        """Versions the policy wants, each with a Servable; None to leave the model as it is."""
        try:
            names = [entry.name for entry in Path(model.base_path).iterdir() if entry.is_dir()]
        except OSError as error:
            # A base path that is away for a moment (a remount) must not unload what serves well.
            self._complain(model.name, f"cannot look for versions of {model.name}: {error}")
            return None
        wanted = aspired_versions(model.model_version_policy, names)
        self._complain(model.name, "" if wanted else f"no version of {model.name} to load in {model.base_path}")
        known = self._servables.get(model.name, {})
        fresh = {}
        for version, name in wanted.items():
            path, current = Path(model.base_path, name), known.get(version)
            if current is None or current.worth_loading(path):
                fresh[version] = Servable(model.name, version, path)
            elif current.path != path:
                # TensorFlow Serving's rule: a version number is loaded once, wherever it came from.
                self._complain(str(current), f"{current} stays the one from {current.path}: unload it to load {path}")
        with self._lock:
            self._servables.setdefault(model.name, {}).update(fresh)
        return set(wanted)

    def _load(self, servable: Servable) -> None:
        # Taken before the load, so that files which arrive during a failing one count as a change.
        servable.fingerprint = directory_fingerprint(servable.path)
        with self._lock:
            servable.state = State.LOADING
        log.info("loading %s from %s", servable, servable.path)
        started = time.monotonic()
        try:
            model = SavedModel(servable.path)
        except Exception as error:
            # Loading documents no closed set of exceptions, and one bad version must not stop the others.
            failure = as_serving_error(error)
            with self._lock:
                servable.state, servable.error = State.END, failure
            log.error("failed to load %s: %s: %s", servable, failure.code.name, failure)
            return
        with self._lock:
            servable.state, servable.model = State.AVAILABLE, model
        seconds = time.monotonic() - started
        log.info("loaded %s in %.1f s, warm-up requests: %d", servable, seconds, model.warmup_records)

    def _unload_others(self, name: str, wanted: set[int]) -> None:
        for version, servable in self._servables[name].items():
            if version not in wanted and servable.state in (State.START, State.AVAILABLE):
                with self._lock:
                    log.info("unloading %s, after %d calls in flight", servable, servable.in_flight)
                    servable.state = State.UNLOADING
                    self._end_if_idle(servable)

    # Called with the lock held

    def _route(self, spec: ModelSpec) -> Servable:
        name, version, label = spec.name, spec.version.value, spec.version_label
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        available = self._available(name)
        match spec.WhichOneof("version_choice"):
            case "version_label":
                labels = self._models.get(name, ModelConfig()).version_labels
                if label not in labels:
                    raise invalid_argument(f"Unrecognized servable version label: {label}")
                version = labels[label]
            case None if not available:
                raise not_found(f"Servable not found for request: Latest({name})")
            case None:
                version = max(available)
        if version not in available:
            raise not_found(f"Servable not found for request: Specific({name}, {version})")
        return self._servables[name][version]

    @staticmethod
    def _end_if_idle(servable: Servable) -> None:
        if servable.state == State.UNLOADING and not servable.in_flight:
            servable.state, servable.model = State.END, None
            log.info("unloaded %s", servable)

    def _check_labels(self, model: ModelConfig) -> None:
        current, available = self._models.get(model.name, model).version_labels, self._available(model.name)
        for label, version in model.version_labels.items():
            moved = current.get(label, version) != version
            if version not in available and (moved or not self._allow_labels_for_unavailable):
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference"
                )

    # Called with the lock held, or during a change, when nobody else adds or loads a version

    def _available(self, name: str) -> set[int]:
        return {known.version for known in self._servables.get(name, {}).values() if known.state == State.AVAILABLE}

    def _why(self, name: str) -> str:
        failures = [f"version {s.version}: {s.error}" for s in self._servables.get(name, {}).values() if s.error]
        return "; ".join(failures) or self._complaints.get(name) or "nothing was loaded"

    def _complain(self, subject: str, message: str) -> None:
        # A poll repeats every second; the same warning should not.
        if message and self._complaints.get(subject) != message:
            log.warning("%s", message)
        self._complaints[subject] = message


def directory_fingerprint(path: Path) -> frozenset[tuple[str, int, int]]:
    """(path, size in bytes, change time in ns) of all that is under `path`; empty where it cannot be read.

    It differs once somebody has written to the directory or mended its permissions: hence the change time and not the
    modification time.
    """
    try:
        found = [(str(file), file.stat()) for file in path.rglob("*")]
    except OSError:
        return frozenset()  # something was removed since it was listed: another fingerprint anyway
    return frozenset((file, stat.st_size, stat.st_ctime_ns) for file, stat in found)
