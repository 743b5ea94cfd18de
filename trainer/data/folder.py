"""A user's own faces: a folder of image files per class."""

import hashlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.contract import CLASSES
from faces.crop import to_face
from faces.decode import Grey, decode
from faces.decode.pixels import flatten
from faces.errors import UnsupportedFormat
from trainer.data.split import SPLITS, Split, divide
from trainer.errors import DataError
from trainer.files import reason, require_text_name

UNLABELLED = "unlabelled"
"""A folder beside the class folders for faces that nobody has given a class yet: it is not read."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

# What file managers leave behind. Any other file that is no image is an error: a face left out in silence is worse.
LITTER = ("thumbs.db", "desktop.ini")


def read_folder(root: Path, class_map: Mapping[str, str]) -> tuple[dict[str, Split], str]:
    """Read `<root>/<class>/<image>`, or `<root>/<Training|PublicTest|PrivateTest>/<class>/<image>`.

    An image is a cropped face of any size and colour; it becomes 48x48 grey, as the gateway makes it of a photo.
    Without split folders one image in ten goes to PublicTest, the rest to Training: by a hash of the 48x48 pixels, so
    that it is the same ten per cent whatever is added or renamed, and copies of one image stay together.

    Args:
        root: the folder. Hidden files are skipped, and so are files beside the class folders, and `UNLABELLED`.
        class_map: class folder names that are not ours -> ours. Upper and lower case are the same.

    Returns:
        The splits, and the hex digest (SHA-256) of all names and contents.

    Raises:
        DataError: no image at all, an unknown class folder (the known ones are listed), or a file that is not an image.
    """
    images, labels, usages = [], [], []
    digest = hashlib.sha256()
    for path, split, label in _files(root, {name.casefold(): ours for name, ours in class_map.items()}):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror}") from error
        for part in (os.fsencode(path.relative_to(root).as_posix()), content):
            # Lengths first: without them, bytes could move between a name and its content unnoticed.
            digest.update(len(part).to_bytes(8, "big") + part)
        image = _face(path, content)
        images.append(image)
        labels.append(label)
        usages.append(SPLITS.index(split or _split_of(image)))
    if not images:
        raise DataError(root, "has no images; expected <class>/<image> or <split>/<class>/<image> in it")
    faces = Split(np.stack(images), np.array(labels, np.uint8))
    return divide(faces, np.array(usages, np.uint8)), digest.hexdigest()


def _face(path: Path, content: bytes) -> NDArray[np.uint8]:
    try:
        return to_face(_decode(content))
    except Exception as error:
        # Damaged files make decoders fail in many ways, struct.error and SyntaxError among them.
        raise DataError(path, f"is not a readable image ({', '.join(FORMATS)})") from error


def _decode(content: bytes) -> Grey:
    try:
        return decode(content, max_bytes=len(content), max_pixels=sys.maxsize)
    except UnsupportedFormat:
        # Formats of laboratories, which no gateway is sent.
        with Image.open(io.BytesIO(content), formats=("TIFF", "PPM")) as image:
            return flatten(image)


def _split_of(image: NDArray[np.uint8]) -> str:
    number = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")
    return "PublicTest" if number % 10 == 0 else "Training"


def _files(root: Path, class_map: Mapping[str, str]) -> Iterator[tuple[Path, str | None, int]]:
    folders = _visible(root, folders=True)
    named = [folder for folder in folders if folder.name in SPLITS]
    if named and (other := [folder.name for folder in folders if folder not in named]):
        raise DataError(root, f"has {other[0]!r} beside the split folder {named[0].name!r}; known: {', '.join(SPLITS)}")
    for split in named or [root]:
        for folder in _visible(split, folders=True):
            if folder.name == UNLABELLED:
                continue
            for path, label in _class_files(folder, class_map):
                yield path, split.name if named else None, label


def _class_files(folder: Path, class_map: Mapping[str, str]) -> Iterator[tuple[Path, int]]:
    name = folder.name.casefold()
    name = class_map.get(name, name)
    if name not in CLASSES:
        raise DataError(
            folder, f"is not a known class; known: {', '.join(CLASSES)}. For another name, --map {folder.name}=CLASS"
        )
    for path in _visible(folder):
        if path.is_dir():
            raise DataError(path, "is a folder inside a class folder; put its images beside it")
        if path.name.casefold() not in LITTER:
            yield path, CLASSES.index(name)


def _visible(folder: Path, *, folders: bool = False) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(folder, f"cannot be read: {reason(error)}") from error
    if folders:
        paths = [path for path in paths if path.is_dir()]
    for path in paths:
        require_text_name(path)
    return paths
