"""Labels of models.config: the lists under which one moves, and whether a server answers them."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from serving import models_config
from serving.errors import ServingError
from serving.models_config import ModelsConfig
from serving.rollout.client import ModelServer
from wire.serving_pb2 import ModelServerConfig
from wire.target import Target

Labels = Mapping[Target, int]  # the version that each label of each model is on


@dataclass(frozen=True)
class Move:
    """A label of a model that shall point at another version."""

    config: ModelsConfig
    name: str
    label: str
    before: int | None  # where the label is; None: nowhere yet
    version: int
    timeout_s: float  # for each step
    dry_run: bool  # print what would change, and change nothing

    def __str__(self) -> str:
        origin = "nowhere" if self.before is None else f"version {self.before}"
        return f"{self.name}: {self.label} from {origin} to version {self.version}"

    def labels(self) -> Labels:
        """What servers answer after it."""
        return {Target(self.name, label=self.label): self.version}


@contextmanager
def planned_move(
    path: Path, name: str, label: str, version: int | None, timeout_s: float, *, dry_run: bool
) -> Iterator[Move]:
    """A move by the models.config at `path`, which no other move can change meanwhile.

    Args:
        version: None for where the label was before the last promotion.

    Raises:
        ServingError: the file cannot be read or is being changed, the model is not listed, or no earlier version is
            remembered.
    """
    with _locked(path):
        config = models_config.read(path)
        labels, previous = config.entry(name).version_labels, previous_label(label)
        if version is None and previous not in labels:
            raise ServingError(f"{path}: {name} has no label {previous!r}: nothing to roll back to")
        version = labels[previous] if version is None else version
        yield Move(config, name, label, labels.get(label), version, timeout_s, dry_run)


def labels_of(proto: ModelServerConfig) -> Labels:
    """Every label of a models.config."""
    return {
        Target(entry.name, label=label): version
        for entry in proto.model_config_list.config
        for label, version in sorted(entry.version_labels.items())
    }


def require_labels(server: ModelServer, labels: Labels) -> None:
    """A model server answers each label with its version.

    Raises:
        ServingError: it does not.
    """
    for target, version in labels.items():
        answered = server.answering_version(target)
        if answered != version:
            raise ServingError(
                f"{server.name}: {target.model} {target.label} answers with version {answered}, not {version}"
            )


def previous_label(label: str) -> str:
    """The label that remembers where `label` was, for a rollback."""
    return f"{label}-previous"


def with_version(
    config: ModelsConfig, name: str, version: int, *, seen: Set[int], loaded: Set[int]
) -> ModelServerConfig:
    """Step 1: the list under which a server loads `version` and keeps loaded what a label needs. Labels stay.

    A version policy is only ever widened. `all` asks for every version as it is; `specific` gets the versions that it
    lacks; `latest` gets a larger `num_versions`, or becomes `specific` where `version` is older than all that the
    servers have seen, because it is then unknown how many versions lie between.

    Args:
        seen: versions that the servers report in whatever state.
        loaded: those of them that are AVAILABLE.
    """
    proto = deepcopy(config.proto)
    entry = ModelsConfig(config.path, "", proto).entry(name)
    needed = {version} | (set(entry.version_labels.values()) & loaded)
    policy = entry.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific":
        policy.specific.versions[:] = sorted(needed | set(policy.specific.versions))
    elif kind != "all" and version < min(seen, default=version):
        policy.specific.versions[:] = sorted(needed | loaded)
    elif kind != "all":
        # On disk there is nothing above the lowest version seen but what was seen, and perhaps `version`.
        window = sum(other >= min(needed) for other in seen | {version})
        # 0 counts as 1, as in TensorFlow Serving, whose default it is.
        if window > max(policy.latest.num_versions, 1):
            policy.latest.num_versions = window
    return proto


def with_label(proto: ModelServerConfig, name: str, version: int, label: str, *, keep: bool) -> ModelServerConfig:
    """Step 2: `proto` with `label` at `version`; with `keep`, `previous_label(label)` goes to where `label` was."""
    proto = deepcopy(proto)
    [entry] = [entry for entry in proto.model_config_list.config if entry.name == name]
    before = entry.version_labels.get(label)
    # Promoting what is promoted already must not make it its own predecessor.
    if keep and before is not None and before != version:
        entry.version_labels[previous_label(label)] = before
    entry.version_labels[label] = version
    return proto


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep a second move from reading the file that the first will replace."""
    # The directory, because the file itself is replaced.
    try:
        descriptor = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise ServingError(f"{path}: cannot be read: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ServingError(f"{path}: another promote or rollback is changing it") from error
    finally:
        os.close(descriptor)
