"""YAML as configs and their overrides are written in it."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from trainer.errors import ConfigError
from trainer.files import reason

# YAML 1.1 reads 010 as 8 and, in {1:32}, 1:32 as 92.
_SURPRISING = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class _Loader(yaml.SafeLoader):
    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        is_int = node.tag.endswith(":int")
        number: int | float = self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
        if _SURPRISING.fullmatch(node.value):
            hint = "numbers have no leading zero, and a key's colon needs a space after it: {1: 32}"
            raise ConstructorError(None, None, f"{node.value} would be read as {number}; {hint}", node.start_mark)
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


def read_yaml(path: Path, what: str) -> Any:
    """As `parse_yaml`, of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: cannot be read: {reason(error)}") from error
    return parse_yaml(text, what)


def parse_yaml(text: str, what: str) -> Any:
    """The values in a text, without surprising ones: octal numbers and those to the base of 60.

    Args:
        what: the text's name, for messages.

    Raises:
        ConfigError: it is not YAML, or has such a number.
    """
    try:
        # A SafeLoader.
        return yaml.load(text, _Loader)  # noqa: S506  # nosec B506
    except Exception as error:
        # Beside YAMLError: ValueError for the 31st of November, RecursionError, and what wrong tags bring about.
        why = str(error) or type(error).__name__
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            why = f"{error.problem} (line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1})"
        raise ConfigError(f"{what}: not YAML: {why}") from error
