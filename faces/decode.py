"""Bytes to an upright grey image, with limits checked before decoding.

Pillow decodes everything. It reads the header first, so that limits come before memory is spent, and it
raises on a truncated file where cv2.imdecode returns half a picture.
"""

from contextlib import suppress
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from faces.errors import FaceError, OutOfMemory, TooLarge, UnreadableImage, UnsupportedFormat

Grey = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
ACCEPTED = "JPEG, PNG, WebP or BMP"

# Our own limit, checked in decode(), replaces Pillow's, which is global and at first only warns.
Image.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION = 0x0112

# EXIF 2.32, tag 0x0112: what to do to the stored picture so that it stands upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# How other common files begin, to say by name what we were given.
_OTHER_FORMATS = (
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyp", "HEIC or video"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"<svg", "SVG"),
)


def decode(content: bytes, *, max_bytes: int, max_pixels: int) -> Grey:
    """Decode an image to uint8 [height, width], upright.

    Raises:
        TooLarge: bytes or pixels, before decoding.
        UnsupportedFormat: none of the four formats, whatever the file is called.
        UnreadableImage: empty, truncated or corrupt.
        OutOfMemory: no fault of the image.
    """
    if not content:
        raise UnreadableImage("The image is empty.")
    if len(content) > max_bytes:
        raise TooLarge("The image", unit="bytes", limit=max_bytes, size=len(content))
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                what = f"The image is {image.width} x {image.height}: it"
                raise TooLarge(what, unit="pixels", limit=max_pixels, size=pixels)
            return np.asarray(upright_grey(image))
    except FaceError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(content) from error
    except MemoryError as error:
        raise OutOfMemory("There is not enough memory for this image now.") from error
    except Exception as error:
        # Decoders meet hostile bytes here and fail in many ways, struct.error and SyntaxError among them.
        raise UnreadableImage(f"The image is truncated or corrupt: {error}.") from error


def _unidentified(content: bytes) -> FaceError:
    """Why Pillow knows nothing that begins like this."""
    if content.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM")) or content[8:12] == b"WEBP":
        return UnreadableImage("The image is truncated or corrupt: its header cannot be read.")
    names = (name for at, magic, name in _OTHER_FORMATS if content.startswith(magic, at))
    found = next(names, "not an image that we know")
    return UnsupportedFormat(f"The content is {found}; it must be {ACCEPTED}.")


def upright_grey(image: Image.Image) -> Image.Image:
    """An opened picture in grey (mode L), turned as its EXIF orientation says."""
    # A JPEG decoder asked for grey skips the colour planes: a third to two thirds of the time.
    image.draft("L", None)
    # PNG keeps its EXIF behind the pixels, so load before asking for it.
    image.load()
    turn = None
    # A photo with broken metadata is still a photo.
    with suppress(Exception):
        turn = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    grey = _grey(image)
    return grey if turn is None else grey.transpose(turn)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel. Pillow's own conversion clips everything over 255 to white.
        high_byte = np.asarray(image).astype(np.int32) >> 8
        return Image.fromarray(high_byte.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        # White is what viewers show behind a cut-out portrait; the colour stored under alpha 0 is arbitrary.
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("L")
    if image.mode == "CMYK":
        return image.convert("RGB").convert("L")
    return image.convert("L")
