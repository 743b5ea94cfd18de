"""A user's own faces: a folder of image files per class."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from faces.contract import CLASSES, SIDE
from trainer.data.split import SPLITS, Rows
from trainer.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

# What file managers leave behind. Any other file that is no image is an error: a face left out in silence is worse.
_LITTER = ("thumbs.db", "desktop.ini")


def read_folder(root: Path, classes: Mapping[str, str]) -> Rows:
    """Read `<root>/<class>/<image>`, or `<root>/<Training|PublicTest|PrivateTest>/<class>/<image>`.

    An image is a cropped face of any size and colour; it becomes 48x48 grey, upright as its EXIF orientation says.
    Without split folders one image in ten goes to PublicTest, the rest to Training: by a hash of the 48x48 pixels, so
    that it is the same ten per cent whatever is added or renamed, and copies of one image stay together.

    Args:
        root: the folder. Hidden files are skipped, and so are files beside the class folders.
        classes: class folder names that are not ours -> ours. Upper and lower case are the same.

    Raises:
        DataError: no image at all, an unknown class folder (the known ones are listed), or a file that is not an image.
    """
    images, labels, splits = [], [], []
    digest = hashlib.sha256()
    for path, split, label in _files(root, {name.casefold(): ours for name, ours in classes.items()}):
        content = _content(path)
        for part in (path.relative_to(root).as_posix().encode(), content):
            # Lengths first: without them, bytes could move between a name and its content unnoticed.
            digest.update(len(part).to_bytes(8, "big") + part)
        image = _face(path, content)
        images.append(image)
        labels.append(label)
        splits.append(SPLITS.index(split or _split_of(image)))
    if not images:
        raise DataError(root, "has no images; expected <class>/<image> or <split>/<class>/<image> in it")
    return Rows(np.stack(images), np.array(labels, np.uint8), np.array(splits, np.uint8), digest.hexdigest())


def _face(path: Path, content: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # As the gateway decodes: a JPEG's luminance is its grey.
            image.draft("L", None)
            grey = np.asarray(_grey(ImageOps.exif_transpose(image)))
    except Exception as error:
        # Damaged files make decoders fail in many ways, struct.error and SyntaxError among them.
        raise DataError(path, f"is not a readable image ({', '.join(FORMATS)})") from error
    # As the gateway scales: INTER_AREA averages every source pixel, but is nearest neighbour when growing.
    shrinking = min(grey.shape) >= SIDE
    face = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return np.asarray(face, np.uint8)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel. Pillow's own conversion clips everything over 255 to white.
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        # The colour stored under a transparent pixel is arbitrary; viewers show white.
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("L")
    return image.convert("RGB").convert("L") if image.mode == "CMYK" else image.convert("L")


def _split_of(image: NDArray[np.uint8]) -> str:
    number = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")
    return "PublicTest" if number % 10 == 0 else "Training"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error


def _files(root: Path, classes: Mapping[str, str]) -> Iterator[tuple[Path, str | None, int]]:
    folders = _visible(root, folders=True)
    named = [folder for folder in folders if folder.name in SPLITS]
    if not named:
        for folder in folders:
            yield from ((path, None, label) for path, label in _class_files(folder, classes))
        return
    if other := [folder.name for folder in folders if folder not in named]:
        raise DataError(root, f"has {other[0]!r} beside the split folder {named[0].name!r}; known: {', '.join(SPLITS)}")
    for split in named:
        for folder in _visible(split, folders=True):
            yield from ((path, split.name, label) for path, label in _class_files(folder, classes))


def _class_files(folder: Path, classes: Mapping[str, str]) -> Iterator[tuple[Path, int]]:
    name = folder.name.casefold()
    name = classes.get(name, name)
    if name not in CLASSES:
        raise DataError(
            folder, f"is not a known class; known: {', '.join(CLASSES)}. For another name, --map {folder.name}=CLASS"
        )
    for path in _visible(folder):
        if path.is_dir():
            raise DataError(path, "is a folder inside a class folder; put its images beside it")
        if path.name.casefold() not in _LITTER:
            yield path, CLASSES.index(name)


def _visible(folder: Path, *, folders: bool = False) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(folder, f"cannot be read: {error.strerror}") from error
    return [path for path in paths if path.is_dir()] if folders else paths
