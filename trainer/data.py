"""FER2013 as Kaggle publishes it: `emotion,pixels,Usage`, one 48x48 grey face per row."""

import csv
import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError

SIDE = 48
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = ("Training", "PublicTest", "PrivateTest")


@dataclass(frozen=True)
class Split:
    """Labelled faces.

    Attributes:
        images: uint8 [N, 48, 48], grey levels 0 to 255.
        labels: uint8 [N], indices into `CLASSES`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self) -> dict[str, int]:
        """Number of faces of each class, in class order."""
        counts = np.bincount(self.labels, minlength=len(CLASSES))
        return dict(zip(CLASSES, map(int, counts), strict=True))


def normalize(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels to the model contract's input: uint8 [N, 48, 48] -> float32 [N, 48, 48, 1] in [-1, 1]."""
    return images[..., None].astype(np.float32) / np.float32(127.5) - np.float32(1)


def read_fer2013(path: Path) -> dict[str, Split]:
    """Read Kaggle's CSV, plain or gzipped.

    Returns:
        The splits that the file has, by their `Usage` name.

    Raises:
        DataError: the file is missing, empty or has no such columns; or a row has an emotion outside 0 to 6, an
            unknown Usage, a pixel count other than 2,304 or a pixel outside 0 to 255. Names file, line and reason.
    """
    images: dict[str, list[NDArray[np.uint8]]] = {}
    labels: dict[str, list[int]] = {}
    try:
        with _open_text(path) as file:
            for line, row in _rows(path, file):
                usage, label, image = _parse_row(path, line, row)
                images.setdefault(usage, []).append(image)
                labels.setdefault(usage, []).append(label)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    if not images:
        raise DataError(path, "has no rows")
    return {
        usage: Split(np.stack(images[usage]), np.array(labels[usage], np.uint8)) for usage in SPLITS if usage in images
    }


def sha256(path: Path) -> str:
    """Hex digest of the file as it lies on disk, to name the data that a model was trained on."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, Mapping[str, str | None]]]:
    reader = csv.DictReader(file)
    # icml_face_data.csv, the same data in another Kaggle file, pads its column names with spaces.
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    if missing := {"emotion", "pixels", "Usage"} - set(reader.fieldnames):
        raise DataError(path, f"lacks the column(s) {', '.join(sorted(missing))}", line=1)
    for row in reader:
        yield reader.line_num, row


def _parse_row(path: Path, line: int, row: Mapping[str, str | None]) -> tuple[str, int, NDArray[np.uint8]]:
    emotion, pixels, usage = row["emotion"], row["pixels"], row["Usage"]
    if emotion is None or pixels is None or usage is None:
        raise DataError(path, "the row has too few columns", line)
    if None in row:
        raise DataError(path, "the row has too many columns", line)
    if usage not in SPLITS:
        raise DataError(path, f"unknown Usage {usage!r}; known: {', '.join(SPLITS)}", line)
    if not (emotion.isascii() and emotion.isdigit() and int(emotion) < len(CLASSES)):
        raise DataError(path, f"emotion {emotion!r} is not a number from 0 to {len(CLASSES) - 1}", line)
    try:
        values = np.array(pixels.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(path, f"a pixel is not a whole number: {error}", line) from error
    if values.size != SIDE * SIDE:
        raise DataError(path, f"{values.size} pixels where {SIDE}x{SIDE} = {SIDE * SIDE} are due", line)
    if values.min() < 0 or values.max() > 255:
        raise DataError(path, "a pixel lies outside 0 to 255", line)
    return usage, int(emotion), values.astype(np.uint8).reshape(SIDE, SIDE)
