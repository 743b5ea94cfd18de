"""FER2013 as Kaggle publishes it, in fer2013.csv and in icml_face_data.csv: one 48x48 grey face per row."""

from pathlib import Path

import numpy as np

from faces.contract import CLASSES, SIDE
from trainer.data.csv_file import read_columns, sha256
from trainer.data.split import SPLITS, Rows
from trainer.errors import DataError

_LABELS = {str(label): label for label in range(len(CLASSES))}
_SPLITS = {usage: index for index, usage in enumerate(SPLITS)}
_PIXELS = SIDE * SIDE
_STRIP_DIGITS = str.maketrans("", "", "0123456789 ")


def read_fer2013(path: Path) -> Rows:
    """Read Kaggle's CSV: plain, gzipped (.gz), or inside a .zip.

    Raises:
        DataError: the file is missing, damaged, empty or lacks a column; or a row has an emotion outside 0 to 6, an
            unknown Usage, a pixel count other than 2,304 or a pixel that is not a whole number from 0 to 255. Names
            file, line and reason.
    """
    # 280 MB of text become 74 MB of pixels; a bytearray grows in place, so that they are held once.
    images, labels, splits = bytearray(), bytearray(), bytearray()
    for line, (emotion, pixels, usage) in read_columns(path, ("emotion", "pixels", "Usage")):
        if usage not in _SPLITS:
            raise DataError(path, f"unknown Usage {usage!r}; known: {', '.join(SPLITS)}", line)
        if emotion not in _LABELS:
            raise DataError(path, f"emotion {emotion!r} is not a number from 0 to {len(CLASSES) - 1}", line)
        splits.append(_SPLITS[usage])
        labels.append(_LABELS[emotion])
        images += _parse(path, line, pixels)
    if not labels:
        raise DataError(path, "has no rows")
    return Rows(
        images=np.frombuffer(images, np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.frombuffer(labels, np.uint8),
        splits=np.frombuffer(splits, np.uint8),
        sha256=sha256(path),
    )


def _parse(path: Path, line: int, pixels: str) -> bytes:
    # fromstring is four times as fast as split(), but takes "7-1" for two numbers and stops at what it does not know.
    # With digits and spaces alone it cannot go wrong.
    if not pixels.translate(_STRIP_DIGITS):
        values = np.fromstring(pixels, np.int64, sep=" ")
        if values.size == _PIXELS and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    tokens = pixels.split()
    if len(tokens) != _PIXELS:
        raise DataError(path, f"{len(tokens)} pixels where {SIDE}x{SIDE} = {_PIXELS} are due", line)
    for position, token in enumerate(tokens, start=1):
        if not (token.isascii() and token.isdigit()):
            raise DataError(path, f"pixel {position} is not a whole number from 0 to 255: {token[:20]!r}", line)
        if len(token.lstrip("0")) > 3 or int(token) > 255:
            raise DataError(path, f"pixel {position} lies outside 0 to 255: {token[:20]}", line)
    # Nothing is wrong but the white space, such as a tab.
    return bytes(map(int, tokens))
