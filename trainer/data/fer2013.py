"""FER2013 as Kaggle publishes it, one 48x48 grey face a row of fer2013.csv or icml_face_data.csv; and as arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES, SIDE
from trainer.data.csv_file import read_columns
from trainer.data.ferplus import read_votes
from trainer.data.split import SPLITS, Split, divide
from trainer.errors import DataError
from trainer.files import BROKEN_ARRAYS, open_arrays, reason

_LABELS = {str(label): label for label in range(len(CLASSES))}
_SPLITS = {usage: index for index, usage in enumerate(SPLITS)}
_PIXELS = SIDE * SIDE
_STRIP_DIGITS = str.maketrans("", "", "0123456789 ")


def read_fer2013(path: Path, votes: Path | None = None) -> dict[str, Split]:
    """Read Kaggle's CSV: plain, gzipped (.gz), or inside a .zip.

    Args:
        votes: FER+'s fer2013new.csv, row for row beside it.

    Raises:
        DataError: the file is missing, damaged, empty or lacks a column; or a row has an emotion outside 0 to 6, an
            unknown Usage, a pixel count other than 2,304 or a pixel that is not a whole number from 0 to 255. Names
            file, line and reason.
    """
    # 280 MB of text become 74 MB of pixels; a bytearray grows in place, so that they are held once.
    images, labels, usages = bytearray(), bytearray(), bytearray()
    for line, (emotion, pixels, usage) in read_columns(path, ("emotion", "pixels", "Usage")):
        if usage not in _SPLITS:
            raise DataError(path, f"unknown Usage {usage!r}; known: {', '.join(SPLITS)}", line)
        if emotion not in _LABELS:
            raise DataError(path, f"emotion {emotion!r} is not a number from 0 to {len(CLASSES) - 1}", line)
        usages.append(_SPLITS[usage])
        labels.append(_LABELS[emotion])
        images += _parse(path, line, pixels)
    if not labels:
        raise DataError(path, "has no rows")
    pixels_of, labels_of, usages_of = (np.frombuffer(array, np.uint8) for array in (images, labels, usages))
    return _divide(path, pixels_of, labels_of, usages_of, votes)


def read_arrays(path: Path, votes: Path | None = None) -> dict[str, Split]:
    """Read the same as arrays in an .npz file, in a fraction of the time.

    `pixels` uint8 [N, 48, 48] or [N, 2304], `emotion` [N] whole numbers from 0 to 6, `usage` [N] text.

    Args:
        votes: as for `read_fer2013`.

    Raises:
        DataError: the file is missing, damaged or lacks an array; an array has another shape or kind; or a row has an
            emotion or a usage that is none. Names file, row (from 1) and reason.
    """
    try:
        with open_arrays(path) as file:
            if missing := [name for name in ("pixels", "emotion", "usage") if name not in file.files]:
                raise DataError(path, f"lacks the array(s) {', '.join(missing)}")
            pixels, emotion, usage = (file[name] for name in ("pixels", "emotion", "usage"))
    except BROKEN_ARRAYS as error:
        raise DataError(path, f"cannot be read: {reason(error)}") from error
    if pixels.dtype != np.uint8 or pixels.shape[1:] not in ((SIDE, SIDE), (_PIXELS,)):
        raise DataError(path, f"pixels is {pixels.dtype} {list(pixels.shape)}; it must be uint8 [N, {SIDE}, {SIDE}]")
    count = len(pixels)
    for name, array, kinds in (("emotion", emotion, "iu"), ("usage", usage, "U")):
        if array.shape != (count,) or array.dtype.kind not in kinds:
            what = "text" if kinds == "U" else "whole numbers"
            raise DataError(path, f"{name} is {array.dtype} {list(array.shape)}; it must be {what} [{count}]")
    if not count:
        raise DataError(path, "has no rows")
    _refuse_first(path, "emotion", emotion, (emotion < 0) | (emotion >= len(CLASSES)), f"0 to {len(CLASSES) - 1}")
    _refuse_first(path, "usage", usage, ~np.isin(usage, SPLITS), ", ".join(SPLITS))
    usages = np.array([_SPLITS[name] for name in usage.tolist()], np.uint8)
    return _divide(path, pixels, emotion.astype(np.uint8), usages, votes)


def _divide(
    path: Path, pixels: NDArray[np.uint8], labels: NDArray[np.uint8], usages: NDArray[np.uint8], votes: Path | None
) -> dict[str, Split]:
    shares = None if votes is None else read_votes(votes, usages, path.resolve().name)
    return divide(Split(pixels.reshape(-1, SIDE, SIDE), labels, shares), usages)


def _refuse_first(path: Path, name: str, values: NDArray[Any], wrong: NDArray[np.bool_], known: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(path, f"row {row + 1}: {name} is {values[row].item()!r}; known: {known}")


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
