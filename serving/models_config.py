"""models.config: the models that a server has, the versions it loads of each, and where labels point.

The file is a ModelServerConfig as text. A reload replaces a server's whole list, so the file is the one place that says
what is to be served. The development server and the rollouts read it here alike.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from serving.errors import ServingError, invalid_argument, not_found
from wire.serving_pb2 import ModelConfig, ModelServerConfig

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelsConfig:
    """A models.config as it was read."""

    path: Path
    text: str
    proto: ModelServerConfig

    def entry(self, name: str) -> ModelConfig:
        """The entry of a model.

        Raises:
            ServingError: there is none; the message lists the models there are.
        """
        models = {entry.name: entry for entry in self.proto.model_config_list.config}
        if name not in models:
            raise invalid_argument(f"{self.path}: no model {name!r}; its models: {', '.join(models) or 'none'}")
        return models[name]

    def replace(self, proto: ModelServerConfig) -> None:
        """Put `proto` in the file's place, in one step; the comment at its beginning and its mode stay.

        Raises:
            ServingError: the file is as it was.
        """
        lines = self.text.splitlines(keepends=True)
        comment = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None)
        write(self.path, "".join(lines[:comment]) + render(proto))


def read(path: Path) -> ModelsConfig:
    """The file at `path`.

    Raises:
        ServingError: NOT_FOUND for a file that cannot be read, and as `parse` does.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise not_found(f"{path}: cannot be read: {error}") from error
    return ModelsConfig(path, text, parse(text, path))


def parse(text: str, source: Path) -> ModelServerConfig:
    """The list in the text of a models.config.

    Args:
        source: for messages.

    Raises:
        ServingError: INVALID_ARGUMENT with line and column, or for a text without a list.
    """
    proto = ModelServerConfig()
    try:
        text_format.Parse(text, proto)
    except text_format.ParseError as error:
        raise invalid_argument(f"{source}:{error}") from error  # it begins with "line:column : "
    if not proto.HasField("model_config_list"):
        raise invalid_argument(f"{source}: it lists no models: model_config_list is missing")
    return proto


def render(proto: ModelServerConfig) -> str:
    """The text of a list, labels sorted; no comments."""
    return text_format.MessageToString(proto, as_utf8=True)


def write(path: Path, text: str) -> None:
    """Write a file aside and put it in the place of the one there may be, whose mode it keeps.

    A symbolic link stays, and what it leads to is replaced.

    Raises:
        ServingError: what was there is as it was.
    """
    path = path.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
            partial = Path(aside, path.name)
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, partial)
            partial.replace(path)
    except OSError as error:
        raise ServingError(f"{path}: cannot be written: {error}") from error


def servable_models(proto: ModelServerConfig, source: str = "") -> dict[str, ModelConfig]:
    """The entries by name, under the rules of TensorFlow Serving, and no logging_config.

    Args:
        source: what messages begin with.

    Raises:
        ServingError: INVALID_ARGUMENT, naming model and field.
    """
    if not proto.HasField("model_config_list"):
        raise invalid_argument(f"{source}only model_config_list is supported in ModelServerConfig, and has to be set")
    models: dict[str, ModelConfig] = {}
    for entry in proto.model_config_list.config:
        name, path, platform = entry.name, entry.base_path, entry.model_platform
        rules = {
            "a model in model_config_list has no name": not name,
            f"Expected model {name} to have an absolute path or URI; got base_path()={path}": not path.startswith("/"),
            f'model {name}: model_platform has to be "{PLATFORM}", got "{platform}"': platform != PLATFORM,
            f"model {name}: logging_config is not supported by the development server": entry.HasField(
                "logging_config"
            ),
            f"Illegal to list model {name} multiple times in config list": name in models,
        }
        for problem, found in rules.items():
            if found:
                raise invalid_argument(f"{source}{problem}")
        models[name] = entry
    return models
