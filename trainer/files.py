"""Files that a report consists of."""

from collections.abc import Mapping
from pathlib import Path

from trainer.errors import TrainerError


def write_files(directory: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write contents by name into a directory, which is made if it does not exist.

    Returns:
        The files' paths.

    Raises:
        TrainerError: the directory cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise TrainerError(f"{directory}: cannot be written to: {error.strerror}") from error
    return [directory / name for name in files]
