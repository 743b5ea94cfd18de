"""A training folder from somebody's own photos: every face by the very steps of the gateway.

The folder holds `<class>/<photo>-<number>.png`, 48x48 grey, as `read_folder` takes it; faces of no known class in
`unlabelled/`; what was made (`faces.csv`) and what was left out and why (`left-out.csv`); and a contact sheet.
"""

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES
from faces.detect import Detection
from faces.errors import DetectorFailed, FaceError
from faces.finder import Face, FaceFinder, FaceOptions
from trainer.data.contact_sheet import contact_sheet
from trainer.data.folder import LITTER, UNLABELLED
from trainer.errors import DataError
from trainer.files import reason

_FACES, _LEFT_OUT, _SHEET = "faces.csv", "left-out.csv", "contact-sheet.png"
_LONGEST_STEM = 200
"""Bytes of a photo's name that a face's keeps: file systems allow 255, and a number comes after it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which faces of a photo are kept."""

    detector: str
    """Its name."""
    min_face: int | None
    """Pixels of the photo; None: what the standard side shows."""
    min_score: float | None
    """None: what the detector itself asks for."""
    largest: bool
    """One face a photo."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One face of a photo."""

    photo: Path
    number: int
    """In its photo, from 1, largest first."""
    folder: str
    """A class, or `UNLABELLED`."""
    name: str
    """Of its file."""
    face: Face
    image: NDArray[np.uint8]
    """[48, 48]"""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A photo, or one face of it, that gave no crop."""

    photo: Path
    why: Literal["unreadable", "no face", "too small", "below the score", "not the largest", "detector failed"]
    face: Detection | Face | None = None
    detail: str | None = None
    """A sentence for people, where there is more to say."""


@dataclass(frozen=True, slots=True)
class Cropped:
    """What became of the photos, in their order."""

    crops: list[Crop]
    left_out: list[LeftOut]


def find_photos(given: Sequence[Path]) -> list[Path]:
    """The files that were named, and those in the folders that were, at any depth; each once, sorted within a folder.

    Raises:
        DataError: nothing is there.
    """
    found: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise DataError(path, "does not exist")
        for photo in _files(path) if path.is_dir() else [path]:
            found.setdefault(photo.resolve(), photo)
    if not found:
        raise DataError(given[0], "has no files in it")
    return list(found.values())


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.casefold() not in LITTER:
                yield Path(parent, name)


def crop_photos(photos: Iterable[Path], finder: FaceFinder, choice: Choice, classes: Mapping[str, str]) -> Cropped:
    """Cut out the faces of photos. What is wrong with one photo is noted, and the next one follows.

    Args:
        classes: names of photos' folders that are not ours -> ours. Upper and lower case are the same.
    """
    known = {name.casefold(): ours for name, ours in classes.items()} | {name: name for name in CLASSES}
    cropped = Cropped([], [])
    names: set[tuple[str, str]] = set()
    for photo in photos:
        found = _found(photo, finder, choice)
        if isinstance(found, LeftOut):
            cropped.left_out.append(found)
            continue
        kept, left_out = found
        cropped.left_out.extend(left_out)
        if not kept:
            continue
        folder = known.get(photo.resolve().parent.name.casefold(), UNLABELLED)
        stem = _unused(photo.stem, folder, names)
        for number, (face, image) in enumerate(kept, start=1):
            cropped.crops.append(Crop(photo, number, folder, f"{stem}-{number}.png", face, image))
    return cropped


def _found(
    photo: Path, finder: FaceFinder, choice: Choice
) -> LeftOut | tuple[list[tuple[Face, NDArray[np.uint8]]], list[LeftOut]]:
    options = FaceOptions(
        max_faces=1000,
        min_face=choice.min_face,
        detector=choice.detector,
        align=True,
        rotate=False,
    )
    try:
        found = finder.find(finder.decode(photo.read_bytes()), options)
    except OSError as error:
        return LeftOut(photo, "unreadable", detail=reason(error))
    except DetectorFailed as error:
        return LeftOut(photo, "detector failed", detail=str(error.__cause__))
    except FaceError as error:
        return LeftOut(photo, "unreadable", detail=error.detail)
    left_out = [LeftOut(photo, "too small", face) for face in (found.search.smaller if found.search else [])]
    kept: list[tuple[Face, NDArray[np.uint8]]] = []
    # The exact inverse of `to_input`.
    images = np.rint((found.tensor[..., 0] + 1) * 127.5).astype(np.uint8)
    for face, image in zip(found.faces, images, strict=True):
        if face.score is not None and face.score < (choice.min_score or 0):
            left_out.append(LeftOut(photo, "below the score", face))
        elif kept and choice.largest:
            left_out.append(LeftOut(photo, "not the largest", face))
        else:
            kept.append((face, image))
    if not kept and not left_out:
        return LeftOut(photo, "no face")
    return kept, left_out


def _unused(stem: str, folder: str, names: set[tuple[str, str]]) -> str:
    """The photo's name for its faces, with a number where another photo of the same name came before."""
    # A face of a hidden name would not be read.
    # Readers want UTF-8, and a cut may fall within a character.
    plain = os.fsencode(stem.lstrip("."))[:_LONGEST_STEM].decode(errors="replace").replace("\ufffd", "_") or "photo"
    name, copies = plain, 1
    while (folder, name.casefold()) in names:
        copies += 1
        name = f"{plain}~{copies}"
    names.add((folder, name.casefold()))
    return name


def check_target(out: Path, photos: Sequence[Path], *, overwrite: bool) -> None:
    """
    Raises:
        DataError: the folder has something in it that may not be replaced: anything without `overwrite`; with it,
            anything but a folder that this made earlier, or one of the photos.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(out, "is no folder")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise DataError(out, "is not empty; --overwrite replaces what an earlier run made")
    if not all((out / name).is_file() for name in (_FACES, _LEFT_OUT)):
        raise DataError(out, f"was not made by this command ({_FACES} and {_LEFT_OUT} are missing): not replaced")
    if any(out.resolve() in photo.resolve().parents for photo in photos):
        raise DataError(out, "holds photos that are to be cropped: not replaced")


def write_crops(out: Path, cropped: Cropped) -> None:
    """Write the folder; it is found whole or, where the writing fails, as it was before.

    Raises:
        DataError: it cannot be written.
    """
    partial = out.with_name(f".partial-{os.getpid()}-{out.name}")
    replaced = out.with_name(f".replaced-{os.getpid()}-{out.name}")
    try:
        partial.mkdir(parents=True)
        for crop in cropped.crops:
            path = partial / crop.folder / crop.name
            path.parent.mkdir(exist_ok=True)
            _write_png(path, crop.image)
        _write_png(partial / _SHEET, contact_sheet(_rows(cropped.crops)))
        _write_csv(partial / _FACES, ["file", "photo", *_PLACE], map(_kept_row, cropped.crops))
        _write_csv(partial / _LEFT_OUT, ["photo", "why", *_PLACE, "detail"], map(_left_row, cropped.left_out))
        if out.exists():
            out.replace(replaced)
        partial.replace(out)
    except OSError as error:
        if replaced.exists():
            replaced.replace(out)
        raise DataError(out, f"cannot be written: {reason(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _rows(crops: Sequence[Crop]) -> dict[str, list[NDArray[np.uint8]]]:
    rows: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in (*CLASSES, UNLABELLED)}
    for crop in crops:
        rows[crop.folder].append(crop.image)
    return {name: images for name, images in rows.items() if images}


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    _, png = cv2.imencode(".png", image)
    path.write_bytes(png.tobytes())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # A file's name may be no UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([header, *rows])


_PLACE = ("x", "y", "width", "height", "score", "roll")


def _place(face: Detection | Face | None) -> list[Any]:
    if face is None:
        return [None] * len(_PLACE)
    box, roll = face.box, face.roll if isinstance(face, Face) else None
    score = None if face.score is None else round(face.score, 4)
    return [box.x, box.y, box.width, box.height, score, None if roll is None else round(roll, 1)]


def _kept_row(crop: Crop) -> list[Any]:
    return [f"{crop.folder}/{crop.name}", crop.photo, *_place(crop.face)]


def _left_row(left_out: LeftOut) -> list[Any]:
    return [left_out.photo, left_out.why, *_place(left_out.face), left_out.detail]
