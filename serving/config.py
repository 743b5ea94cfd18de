"""Reading and checking ModelServerConfig, the text proto that lists the models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import ServingError, invalid_argument
from serving.policy import All, Latest, Specific, VersionPolicy

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelSettings:
    """One model of the list: where its versions are, which to load, which labels point where."""

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)


def read_file(path: Path) -> dict[str, ModelSettings]:
    """Models of a text proto file, by name.

    Raises ServingError: NOT_FOUND for a file that cannot be read, INVALID_ARGUMENT, with file, line and
    column, for one that does not parse, or as `from_proto` does.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(grpc.StatusCode.NOT_FOUND, f"cannot read {path}: {error}") from error
    proto = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, proto)
    except text_format.ParseError as error:
        # str(error) begins with "line:column : ".
        raise invalid_argument(f"{path}:{error}") from error
    try:
        return from_proto(proto)
    except ServingError as error:
        raise ServingError(error.code, f"{path}: {error}") from error


def single_model(name: str, base_path: str) -> dict[str, ModelSettings]:
    """The list that --model_name and --model_base_path stand for; checked as `from_proto` checks it."""
    proto = model_server_config_pb2.ModelServerConfig()
    proto.model_config_list.config.add(name=name, base_path=base_path, model_platform=_PLATFORM)
    return from_proto(proto)


def from_proto(proto: Any) -> dict[str, ModelSettings]:
    """Models of a tensorflow.serving.ModelServerConfig, by name.

    Raises ServingError INVALID_ARGUMENT, naming model and field: no model_config_list, a name that is
    missing or listed twice, a base path that is not absolute, another platform than "tensorflow", a
    logging_config.
    """
    if proto.WhichOneof("config") != "model_config_list":
        raise invalid_argument("only model_config_list is supported in ModelServerConfig, and it has to be set")
    models: dict[str, ModelSettings] = {}
    for entry in proto.model_config_list.config:
        model = _model_settings(entry)
        if model.name in models:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        models[model.name] = model
    return models


def _model_settings(entry: Any) -> ModelSettings:
    if not entry.name:
        raise invalid_argument("a model in model_config_list has no name")
    if not Path(entry.base_path).is_absolute():
        raise invalid_argument(
            f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
        )
    if entry.model_platform != _PLATFORM:
        raise invalid_argument(
            f'model {entry.name}: model_platform has to be "{_PLATFORM}", got "{entry.model_platform}"'
        )
    if entry.HasField("logging_config"):
        raise invalid_argument(f"model {entry.name}: logging_config is not supported by the development server")
    return ModelSettings(
        name=entry.name,
        base_path=Path(entry.base_path),
        policy=_policy(entry.model_version_policy),
        labels=dict(entry.version_labels),
    )


def _policy(proto: Any) -> VersionPolicy:
    match proto.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(frozenset(proto.specific.versions))
        case _:
            return Latest(max(proto.latest.num_versions, 1))
