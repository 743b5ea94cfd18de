"""What the trainer tells its user: one line, no traceback.

TrainerError
├── DataError      a data file that cannot be trusted; names file, line and reason
├── ConfigError    an unknown key or a value out of range
├── TrainingError  a run that cannot go on (a loss that is not finite, no checkpoint to read)
└── ExportError    a SavedModel that cannot be written, or does not answer as the model does
"""

import os
from pathlib import Path

from pydantic import ValidationError


class TrainerError(Exception):
    """Base of every error that the command line prints as one line."""


class DataError(TrainerError):
    """A data file is malformed.

    Args:
        path: the file.
        reason: what is wrong with it.
        line: 1-based line number in the (decompressed) file, the header being line 1; None for the file as a whole.
    """

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        # A name need not be text.
        where = os.fsencode(path).decode(errors="backslashreplace")
        if line is not None:
            where += f", line {line}"
        super().__init__(f"{where}: {reason}")


class ConfigError(TrainerError):
    """A training configuration is invalid."""


class TrainingError(TrainerError):
    """Training cannot go on."""


class ExportError(TrainerError):
    """A model cannot be exported."""


def explain(error: ValidationError) -> str:
    """What Pydantic found wrong, in one line: each key with its reason."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False))
