"""One version of one model on its way through START, LOADING, AVAILABLE, UNLOADING and END."""

from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import ServingError
from serving.savedmodel import SavedModel
from wire.serving_pb2 import ModelVersionStatus, StatusProto

State = ModelVersionStatus.State


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

    def status(self) -> ModelVersionStatus:
        """What GetModelStatus says about it."""
        status = StatusProto()
        if self.error is not None:
            status.error_code, status.error_message = self.error.code.value[0], str(self.error)
        return ModelVersionStatus(version=self.version, state=self.state, status=status)

    def worth_loading(self, path: Path) -> bool:
        """Whether a version that is wanted (again), now from `path`, should be loaded anew.

        Not while it serves, and not if it failed and would only fail again on the same files.
        """
        if self.state == State.END:
            return self.error is None or directory_fingerprint(path) != self.fingerprint
        return self.state == State.UNLOADING


def directory_fingerprint(path: Path) -> frozenset[tuple[str, int, int]]:
    """(path, size in bytes, change time in ns) of all that is under `path`; empty where it cannot be read.

    It differs once somebody has written to the directory or mended its permissions: hence the change time and not the
    modification time.
    """
    try:
        found = [(str(file), file.stat()) for file in path.rglob("*")]
    except OSError:
        return frozenset()  # something was removed since it was listed: another fingerprint anyway
    return frozenset((file, stat.st_size, stat.st_ctime_ns) for file, stat in found)
