"""A model server's models.config: reading and replacing the file, and the lists that a promotion sends.

The file is a text proto of tensorflow.serving.ModelServerConfig. A reload replaces a server's whole list, so the file
is the one place that says what is to be served, and every function here returns a whole list.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.rollout.errors import ConfigError

ModelServerConfig = Any  # tensorflow_serving's generated code has no types


@dataclass(frozen=True)
class ModelsConfig:
    """A models.config file as it was read."""

    path: Path
    comment: str
    proto: ModelServerConfig

    def entry(self, name: str) -> Any:
        """The ModelConfig of `name`. Raises ConfigError, listing the models there are, where it is missing."""
        for entry in self.proto.model_config_list.config:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.proto.model_config_list.config) or "none"
        raise ConfigError(f"{self.path}: no model {name!r}; its models: {names}")

    def version_before(self, name: str, label: str) -> int:
        """Where `label` was before the last promotion. Raises ConfigError when none is remembered."""
        previous, labels = previous_label(label), self.entry(name).version_labels
        if previous not in labels:
            raise ConfigError(f"{self.path}: {name} has no label {previous!r}: nothing to roll back to")
        return int(labels[previous])


def read(path: Path) -> ModelsConfig:
    """The file's list and its leading comment; symbolic links are followed, so that `write` replaces their target.

    Raises ConfigError: it cannot be read, does not parse (with line and column), or holds no model_config_list.
    """
    path = path.resolve()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    proto = parse(text, path)
    comment = []
    for line in text.splitlines(keepends=True):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        comment.append(line)
    return ModelsConfig(path, "".join(comment), proto)


def parse(text: str, path: Path) -> ModelServerConfig:
    """The list in the text of a models.config. path: for messages. Raises ConfigError, as `read` does."""
    proto = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, proto)
    except text_format.ParseError as error:
        raise ConfigError(f"{path}:{error}") from error  # its text begins with "line:column : "
    if proto.WhichOneof("config") != "model_config_list":
        raise ConfigError(f"{path}: it lists no models: model_config_list is missing")
    return proto


def render(proto: ModelServerConfig) -> str:
    """The text of a list, labels sorted; no comments."""
    return text_format.MessageToString(proto, as_utf8=True)


def write(config: ModelsConfig, proto: ModelServerConfig) -> None:
    """Replace the file by `proto` in one step, keeping its leading comment and its mode. Raises OSError."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{config.path.name}.", dir=config.path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(config.comment + render(proto))
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(config.path, partial)
        Path(partial).replace(config.path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def with_version(config: ModelsConfig, name: str, version: int, *, seen: Set[int], loaded: Set[int]) -> Any:
    """Step 1: the list under which a server loads `version` of `name` and keeps loaded what a label needs. Labels stay.

    A version policy is only ever widened. `all` asks for every version as it is; `specific` gets the versions that it
    lacks; `latest` gets a larger `num_versions`, or becomes `specific` where `version` is older than all that the
    servers have seen: how many versions lie between is then unknown.

    Args:
        seen: versions that the servers report in whatever state.
        loaded: those of them that are AVAILABLE.
    """
    proto = _copy(config.proto)
    entry = ModelsConfig(config.path, "", proto).entry(name)
    needed = {version} | (set(entry.version_labels.values()) & loaded)
    policy = entry.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            pass
        case "specific":
            _set_specific(policy, needed | set(policy.specific.versions))
        case _ if version < min(seen, default=version):
            _set_specific(policy, needed | loaded)
        case _:
            # On disk there is nothing above the lowest version seen but what was seen, and perhaps `version`.
            window = sum(other >= min(needed) for other in seen | {version})
            # 0 counts as 1, as in TensorFlow Serving, whose default it is.
            if window > max(policy.latest.num_versions, 1):
                policy.latest.num_versions = window
    return proto


def with_label(proto: ModelServerConfig, name: str, version: int, label: str, *, keep: bool) -> ModelServerConfig:
    """Step 2: `proto` with `label` at `version`; with `keep`, `previous_label(label)` goes to where `label` was."""
    proto = _copy(proto)
    [entry] = [entry for entry in proto.model_config_list.config if entry.name == name]
    before = entry.version_labels.get(label)
    # Promoting what is promoted already must not make it its own predecessor.
    if keep and before is not None and before != version:
        entry.version_labels[previous_label(label)] = before
    entry.version_labels[label] = version
    return proto


def previous_label(label: str) -> str:
    """The label that remembers where `label` was, for `rollback`."""
    return f"{label}-previous"


def _set_specific(policy: Any, versions: Set[int]) -> None:
    del policy.specific.versions[:]
    policy.specific.versions.extend(sorted(versions))


def _copy(proto: ModelServerConfig) -> ModelServerConfig:
    copy = model_server_config_pb2.ModelServerConfig()
    copy.CopyFrom(proto)
    return copy
