"""Files that are found whole or not at all, and archives of arrays."""

import contextlib
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import DataError, TrainerError

BROKEN_ARRAYS = (OSError, ValueError, EOFError, KeyError, IndexError, zipfile.BadZipFile, zlib.error)
"""What `open_arrays`, and reading one of its arrays, may raise on a file that is missing, damaged or another kind."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, in place of `path`, which it replaces at the end: readers find the old file or the new one.

    The folder is made if it does not exist. Where the writing fails, the old file stays and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may write the same file; the suffix stays, because libraries add the one that they miss.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """Write JSON for people and programs to `path`."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_files(directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write the files of a report into a directory, which is made if it does not exist.

    Args:
        contents: by name.

    Raises:
        TrainerError: the directory cannot be written to.
    """
    paths = [directory / name for name in contents]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with replacing(path) as partial:
                partial.write_bytes(contents[path.name])
    except OSError as error:
        raise TrainerError(f"{directory}: cannot be written to: {reason(error)}") from error
    return paths


def sha256(path: Path) -> str:
    """Hex digest of a file as it lies on disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_text_name(path: Path) -> None:
    """Refuse a file or folder whose name no message, digest or JSON could hold.

    Raises:
        DataError: the name is not UTF-8.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(path, "has a name that is not UTF-8; rename it") from error


def reason(error: Exception) -> str:
    """Why a file could not be read or written, without its name."""
    return str(getattr(error, "strerror", None) or error)


@contextlib.contextmanager
def open_arrays(path: Path) -> Iterator["np.lib.npyio.NpzFile"]:
    """An .npz file, without pickles; closed at the end whatever it holds."""
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("not an archive of arrays")
        with file:
            yield file
