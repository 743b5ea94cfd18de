"""Which code and which libraries made a result."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """JSON-able: `git` (`commit`, `dirty`; None outside a repository) and `libraries` (versions, Python's too)."""
    return {"git": git_state(Path(__file__)), "libraries": library_versions()}


def git_state(file: Path) -> dict[str, Any] | None:
    """Commit of the repository that tracks `file`, and whether a tracked file differs from it.

    None without git, or where no repository tracks the file, such as in an installed copy.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        commit = _git(file, "rev-parse", "HEAD").strip()
        dirty = bool(_git(file, "status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


def library_versions() -> dict[str, str]:
    """Versions of what the numbers depend on: Python, Keras, its backend, NumPy and OpenCV."""
    # Takes seconds to import; the commands import this module for all that they do.
    import keras

    names = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def _git(file: Path, *arguments: str) -> str:
    command = ["git", "-C", str(file.parent), *arguments]
    # No shell; Git gets paths of ours after -C.
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603  # nosec B603
    return done.stdout
