"""A picture of the data: a few faces of each class, to see at a glance whether labels and crops are sound."""

from collections.abc import Sequence
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


def contact_sheet(splits: Sequence[Split], columns: int = 16) -> NDArray[np.uint8]:
    """A captioned row of random faces per class, drawn from all splits: uint8 [H, W], black on white.

    Args:
        splits: what to draw from. The same splits give the same sheet.
        columns: faces in a row; fewer where a class has fewer.
    """
    rng = np.random.default_rng(0)
    cell = SIDE * _SCALE + _GAP
    row_height = _CAPTION + cell
    sheet = np.full((len(CLASSES) * row_height + _GAP, columns * cell + _GAP), 255, np.uint8)
    for label, name in enumerate(CLASSES):
        places = [(split, index) for split in splits for index in np.flatnonzero(split.labels == label)]
        top = label * row_height
        caption = f"{name}  ({len(places):,})"
        cv2.putText(sheet, caption, (_GAP, top + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
        chosen = sorted(rng.choice(len(places), min(columns, len(places)), replace=False)) if places else []
        for column, choice in enumerate(chosen):
            split, index = places[choice]
            face = split.images[index].repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
            left = _GAP + column * cell
            sheet[top + _CAPTION :, left:][: SIDE * _SCALE, : SIDE * _SCALE] = face
    return sheet


def write_contact_sheet(path: Path, splits: Sequence[Split]) -> None:
    """Write `contact_sheet` as a PNG file.

    Raises:
        DataError: the file cannot be written.
    """
    _, png = cv2.imencode(".png", contact_sheet(splits))
    try:
        path.write_bytes(png.tobytes())
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror}") from error
