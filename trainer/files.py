"""Files: those that a report consists of, and archives of arrays."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

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


BROKEN_ARRAYS = (OSError, ValueError, EOFError, KeyError, IndexError, zipfile.BadZipFile, zlib.error)
"""What `open_arrays`, and reading one of its arrays, may raise on a file that is missing, damaged or another kind."""


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator["np.lib.npyio.NpzFile"]:
    """An .npz file, without pickles; closed at the end whatever it holds."""
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("not an archive of arrays")
        with file:
            yield file
