"""One version of one model on its way through START, LOADING, AVAILABLE, UNLOADING and END."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from serving.errors import ServingError
from serving.savedmodel import SavedModel


class State(IntEnum):
    """Values of tensorflow.serving.ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(eq=False)
class Servable:
    """A version, its state and, from AVAILABLE to END, its model. The manager's lock guards the fields."""

    name: str
    version: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    model: SavedModel | None = None
    in_flight: int = 0
    fingerprint: frozenset[tuple[str, int, int]] = field(default_factory=frozenset)

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    def worth_loading(self, path: Path) -> bool:
        """Whether a version that is wanted (again), now from `path`, should be loaded anew.

        Not while it serves, and not if it failed and would only fail again on the same files.
        """
        match self.state:
            case State.UNLOADING:
                return True
            case State.END:
                return self.error is None or directory_fingerprint(path) != self.fingerprint
            case _:
                return False


@dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus says about a version; `error` is None for OK."""

    version: int
    state: State
    error: ServingError | None


def directory_fingerprint(path: Path) -> frozenset[tuple[str, int, int]]:
    """(path, size in bytes, change time in ns) of every file under `path`.

    Different for a directory that somebody has written to since, or whose permissions were mended (hence the
    change time and not the modification time). Empty where nothing can be read.
    """
    found = set()
    for folder, _, files in os.walk(path):
        for name in files:
            file = Path(folder, name)
            try:
                stat = file.stat()
            except OSError:
                continue  # removed since it was listed: another fingerprint anyway
            found.add((str(file), stat.st_size, stat.st_ctime_ns))
    return frozenset(found)
