"""Get YuNet's file, which no package on PyPI brings: `python -m faces.detect.fetch [FILE]`."""

import hashlib
import os
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from faces.detect.yunet import SHA256

URL = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2026may.onnx"

_CONNECT_S = 5.0
_TOTAL_S = 30.0
_MOST_BYTES = 2**20
"""The file has 229,738."""


class FetchError(Exception):
    """One line: what came in between."""


def cached() -> Path:
    """Where the file is kept for all clones of the project."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "emotion-serving" / f"yunet-{SHA256[:12]}.onnx"


def fetch(
    path: Path,
    *,
    url: str = URL,
    sha256: str = SHA256,
    connect_s: float = _CONNECT_S,
    total_s: float = _TOTAL_S,
) -> None:
    """Download the file, unless it is there; nobody ever sees half of it, or another one.

    Args:
        path: where to; its folder is made.
        connect_s: seconds to connect, and between two pieces.
        total_s: seconds in all.

    Raises:
        FetchError: it cannot be had, is another one or takes too long.
    """
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return
    content = _download(url, connect_s, time.monotonic() + total_s)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FetchError(f"{url}: its SHA-256 is {found[:12]}..., not {sha256[:12]}... ({len(content):,} bytes)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{os.getpid()}-{path.name}")
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}") from error


def _download(url: str, connect_s: float, deadline: float) -> bytes:
    content = bytearray()
    try:
        # Ours, or a test's.
        with urllib.request.urlopen(url, timeout=connect_s) as response:  # noqa: S310  # nosec B310
            while piece := response.read1(2**16):
                content += piece
                if len(content) > _MOST_BYTES:
                    raise FetchError(f"{url}: more than {_MOST_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise FetchError(f"{url}: too slow")
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"{url}: {error}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}") from error
    return bytes(content)


def main() -> int:
    """Fetch it to the path given, or into the cache, and print where it is."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else cached()
    try:
        fetch(path)
    except FetchError as error:
        print(f"no YuNet: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
