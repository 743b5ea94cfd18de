"""The photo in colour, upright, as a browser shows it. Models read grey; this one is for people."""

from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from faces.decode import decode

SIDE_MAX = 6000
"""Longer side of a picture that is drawn on, pixels: larger photos are shrunk."""
_WHOLE = 36_000_000
"""Pixels of a JPEG that is decoded whole; colour takes three bytes of each."""

MediaType = Literal["image/png", "image/jpeg"]


def read_colour(content: bytes, size: tuple[int, int], *, max_bytes: int, max_pixels: int) -> Image.Image:
    """A photo in RGB, white behind what is transparent; in grey where Pillow reads less of the file than we do.

    Args:
        size: width and height of the upright photo, pixels, as the finder tells them.

    Raises:
        ImageError, OutOfMemory: as faces.decode.decode() does.
    """
    try:
        picture = _with_pillow(content)
    except (OSError, ValueError, SyntaxError):
        picture = None
    # A file that two decoders do not understand alike: the boxes are in the pixels of ours.
    if picture is None or abs(picture.width / picture.height / (size[0] / size[1]) - 1) > 0.02:
        picture = Image.fromarray(decode(content, max_bytes=max_bytes, max_pixels=max_pixels)).convert("RGB")
        picture.thumbnail((SIDE_MAX, SIDE_MAX))
    return picture


def _with_pillow(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content)) as opened:
        if opened.width * opened.height > _WHOLE:
            # Of a JPEG, an eighth, a quarter or a half is decoded.
            opened.draft("RGB", (SIDE_MAX // 2, SIDE_MAX // 2))
        if opened.mode.startswith("I"):
            # 16 bits a pixel, which Pillow's own conversion clips to white.
            levels = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
            levels.getexif().update(opened.getexif())
            upright = ImageOps.exif_transpose(levels)
        else:
            upright = ImageOps.exif_transpose(opened)
        upright.thumbnail((SIDE_MAX, SIDE_MAX))
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        clear = upright.convert("RGBA")
        white = Image.new("RGB", clear.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white


def write(picture: Image.Image, media_type: MediaType) -> bytes:
    """The bytes of a file."""
    file = BytesIO()
    if media_type == "image/png":
        # Photos shrink little by more effort, and take several times as long.
        picture.save(file, "PNG", compress_level=3)
    else:
        picture.save(file, "JPEG", quality=90)
    return file.getvalue()
