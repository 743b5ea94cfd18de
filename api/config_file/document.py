"""A file's content as a pydantic model, with errors that name file, key and reason."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from api.config_file.strict_yaml import StrictLoader

_MAX_NAMED = 10

Document = TypeVar("Document", bound=BaseModel)


class Strict(BaseModel):
    """A mapping with these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfigFileError(Exception):
    """One line for each problem."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        """
        Args:
            problems: `key: reason` each.
        """
        lines = [f"{path}: {problem}" for problem in problems[:_MAX_NAMED]]
        if len(problems) > _MAX_NAMED:
            lines.append(f"{path}: ... and {len(problems) - _MAX_NAMED:,} more")
        super().__init__("\n".join(lines))


def read_document(content: bytes, path: Path, kind: type[Document], root: str) -> Document:
    """A YAML file's content as a model.

    Args:
        path: for messages.
        root: the key that the mapping must have.

    Raises:
        ConfigFileError: says what is wrong, and where.
    """
    try:
        # The loader is a SafeLoader.
        document = yaml.load(content, StrictLoader)  # noqa: S506  # nosec B506
    except Exception as error:
        # Beside YAMLError: ValueError for bytes that are not UTF-8 or the 31st of November, RecursionError, and what
        # wrong tags bring about.
        raise ConfigFileError(path, [f"not YAML: {_yaml_reason(error)}"]) from error
    if not isinstance(document, dict):
        raise ConfigFileError(path, [f"must be a mapping with the key {root!r}"])
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise ConfigFileError(path, [_explain(one, root) for one in error.errors()]) from error


def problem(location: Sequence[int | str], message: str, root: str) -> str:
    """`key: reason`, such as `experiments[0].start: is in the past`."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    return f"{key or root}: {message.removeprefix('Value error, ')}"


def _yaml_reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return str(error) or type(error).__name__


def _explain(error: ErrorDetails, root: str) -> str:
    given: Any = error["input"]
    quote = error["type"] == "string_type" and isinstance(given, bool | int | float | date)
    return problem(error["loc"], error["msg"] + (f": {given} needs quotes" if quote else ""), root)
