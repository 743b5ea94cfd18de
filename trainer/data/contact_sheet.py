"""A picture of the data: a few faces of each class, to see at a glance whether labels and crops are sound."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES, SIDE
from trainer.data.split import Split
from trainer.errors import DataError

_SCALE = 2
_GAP = 4
_CAPTION = 24


def contact_sheet(rows: Mapping[str, Sequence[NDArray[np.uint8]]], columns: int = 16) -> NDArray[np.uint8]:
    """A captioned row of random faces for each name: uint8 [H, W], black on white.

    Args:
        rows: faces [48, 48] by name. The same faces give the same sheet.
        columns: faces in a row; fewer where a name has fewer.
    """
    rng = np.random.default_rng(0)
    cell = SIDE * _SCALE + _GAP
    row_height = _CAPTION + cell
    sheet = np.full((len(rows) * row_height + _GAP, columns * cell + _GAP), 255, np.uint8)
    for row, (name, faces) in enumerate(rows.items()):
        top = row * row_height
        caption = f"{name}  ({len(faces):,})"
        cv2.putText(sheet, caption, (_GAP, top + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
        chosen = sorted(rng.choice(len(faces), min(columns, len(faces)), replace=False)) if len(faces) else []
        for column, choice in enumerate(chosen):
            face = faces[choice].repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
            left = _GAP + column * cell
            sheet[top + _CAPTION :, left:][: SIDE * _SCALE, : SIDE * _SCALE] = face
    return sheet


def write_contact_sheet(path: Path, splits: Sequence[Split]) -> None:
    """Write a sheet with a row for each class, drawn from all splits, as a PNG file.

    Raises:
        DataError: the file cannot be written.
    """
    rows: dict[str, Sequence[NDArray[np.uint8]]] = {
        name: list(np.concatenate([split.images[split.labels == label] for split in splits]))
        for label, name in enumerate(CLASSES)
    }
    _, png = cv2.imencode(".png", contact_sheet(rows))
    try:
        path.write_bytes(png.tobytes())
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror}") from error
