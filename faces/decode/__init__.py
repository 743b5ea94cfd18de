"""From the bytes of a photo to an upright grey picture, as a browser shows it, with limits before memory is spent.

header   what a file says of its picture, and what decoding that takes
pixels   grey levels in strips, alpha on white, colour profiles
jpeg     how a header of this format is read, and its pixels; likewise
png      with only those chunks that decide the picture
webp     with its alpha
gif      its first frame
bmp      all its variants
isobmff  AVIF, and HEIC where its extra is installed
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image

from faces.decode import bmp, gif, isobmff, jpeg, png, webp
from faces.decode.header import Grey, Header, broken
from faces.errors import FaceError, OutOfMemory, TooLarge, UnreadableImage, UnsupportedFormat

Value = TypeVar("Value")
Result = TypeVar("Result")

__all__ = ["ACCEPTED", "MEMORY", "Cost", "Grey", "Photo", "decode", "estimate", "read"]

ACCEPTED = "JPEG, PNG, WebP, AVIF, HEIC, GIF or BMP" if isobmff.HEIC else "JPEG, PNG, WebP, AVIF, GIF or BMP"

MEMORY = 112 * 2**20
"""Bytes that decoding one photo may take, the file among them."""
STORED = 9
"""A JPEG may have this many times the pixels of other files: 225 million by default, for phones have 200. It is decoded
at a fraction of that."""
_SCALES = (8, 4, 2, 1)
_SHORTEST = 1280
"""Pixels that the longer side keeps at any scale: in less, faces are lost, and a photo is rather refused."""

# Our own limits replace Pillow's, which is global and at first only warns.
Image.MAX_IMAGE_PIXELS = None

# What to do to the stored picture so that it stands upright, by EXIF's orientation.
_UPRIGHT: dict[int, Callable[[Grey], Any]] = {
    2: lambda grey: cv2.flip(grey, 1),
    3: lambda grey: cv2.flip(grey, -1),
    4: lambda grey: cv2.flip(grey, 0),
    5: cv2.transpose,
    6: lambda grey: cv2.rotate(grey, cv2.ROTATE_90_CLOCKWISE),
    7: lambda grey: cv2.flip(cv2.transpose(grey), -1),
    8: lambda grey: cv2.rotate(grey, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

# How other common files begin, to say by name what we were given.
_OTHER_FORMATS = (
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (4, b"ftyp", "a video"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"<svg", "SVG"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What decoding a photo takes, told from its header."""

    format: str
    pixels: int
    """As stored."""
    milliseconds: float
    """Of one core of the machine that measured: compare them with each other."""
    memory: int
    """Bytes at the worst moment, the file among them."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A file whose header has been read and is within the limits."""

    _header: Header
    _bytes: int
    _max_pixels: int

    @property
    def width(self) -> int:
        """Of the upright picture at scale 1, pixels; so is the height."""
        return self._header.height if self._header.orientation > 4 else self._header.width

    @property
    def height(self) -> int:
        return self._header.width if self._header.orientation > 4 else self._header.height

    def scale(self, side: int) -> int:
        """1, 2, 4 or 8: a picture at 1 / scale has a longer side of at least `side`, where the limits allow that.

        A format that cannot skip what a smaller picture does not need stays at 1 as long as that fits.
        """
        fitting = [scale for scale in self._scales() if self._header.pixels <= self._limit(scale)] or [1]
        if not self._header.scales:
            return fitting[-1]
        return next((scale for scale in fitting if max(self.width, self.height) >= side * scale), fitting[-1])

    def cost(self, scale: int) -> Cost:
        header = self._header
        share = 0.2 + 0.8 / scale if header.scales else 1
        nanoseconds = header.ns_a_pixel * header.pixels * share + header.ns_a_byte * self._bytes
        return Cost(header.format, header.pixels, 0.3 + nanoseconds / 1e6, self._memory(scale))

    def decode(self, scale: int = 1) -> Grey:
        """The picture at 1 / scale, upright.

        Raises:
            UnreadableImage, OutOfMemory: as decode() does.
        """
        return _guarded(self._decode, scale)

    def _decode(self, scale: int) -> Grey:
        grey, turn = self._header.load(scale), _UPRIGHT.get(self._header.orientation)
        return grey if turn is None else np.asarray(turn(grey), np.uint8)

    def check(self) -> None:
        """
        Raises:
            TooLarge: at no scale is it within the limits.
        """
        header = self._header
        limit = max(map(self._limit, self._scales()))
        if header.pixels > limit:
            what = f"The {header.format} is {header.width} x {header.height}: it"
            raise TooLarge(what, unit="pixels", limit=limit, size=header.pixels)

    def _scales(self) -> list[int]:
        shorter, longer = sorted((self.width, self.height))
        return [scale for scale in _SCALES if scale == 1 or (scale <= shorter and longer >= _SHORTEST * scale)]

    def _limit(self, scale: int) -> int:
        """Pixels that a picture may have as stored, to be decoded at that scale."""
        header = self._header
        pixels = self._max_pixels * (min(scale**2, STORED) if header.scales else 1)
        room = (MEMORY - 2 * self._bytes) / (header.held + header.scaled / scale**2)
        return min(pixels, max(0, int(room)))

    def _memory(self, scale: int) -> int:
        header = self._header
        # The file, and what the decoder gets of it.
        return 2 * self._bytes + int(header.pixels * (header.held + header.scaled / scale**2))


def read(content: bytes, *, max_bytes: int, max_pixels: int) -> Photo:
    """Read a file's header.

    Args:
        max_pixels: of the decoded picture. What a file may have as stored depends on its format: `STORED`, `MEMORY`.

    Raises:
        TooLarge: bytes, pixels or parts.
        UnsupportedFormat: none of the formats we read, whatever the file is called.
        UnreadableImage: empty, or no header that can be read.
        OutOfMemory: no fault of the image.
    """
    if not content:
        raise UnreadableImage("The image is empty.")
    if len(content) > max_bytes:
        raise TooLarge("The image", unit="bytes", limit=max_bytes, size=len(content))
    photo = Photo(_guarded(_header, content), len(content), max_pixels)
    photo.check()
    return photo


def decode(content: bytes, *, max_bytes: int, max_pixels: int) -> Grey:
    """A photo as large as the limits allow: uint8 [height, width], upright.

    Raises:
        UnreadableImage: empty, truncated or corrupt.
        TooLarge, UnsupportedFormat, OutOfMemory: as read() does.
    """
    photo = read(content, max_bytes=max_bytes, max_pixels=max_pixels)
    return photo.decode(photo.scale(max(photo.width, photo.height)))


def estimate(content: bytes, side: int) -> Cost:
    """What decoding a photo takes, from its header alone.

    Args:
        side: as in `Photo.scale`.

    Raises:
        ImageError: as read() does.
    """
    photo = Photo(_guarded(_header, content), len(content), sys.maxsize)
    return photo.cost(photo.scale(side))


def _header(content: bytes) -> Header:
    read_format = _format(content)
    if read_format is None:
        names = (name for at, magic, name in _OTHER_FORMATS if content.startswith(magic, at))
        found = next(names, "not an image that we know")
        raise UnsupportedFormat(f"The content is {found}; it must be {ACCEPTED}.")
    header = read_format(content)
    if header.width <= 0 or header.height <= 0:
        raise broken("it has no pixels")
    return header


def _format(content: bytes) -> Callable[[bytes], Header] | None:
    if content.startswith(b"\xff\xd8\xff"):
        return jpeg.read
    if content.startswith(png.MAGIC[:4]):
        return png.read
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return webp.read
    if content.startswith((b"GIF87a", b"GIF89a")):
        return gif.read
    if content.startswith(b"BM"):
        return bmp.read
    if content[4:8] == b"ftyp":
        return isobmff.reader(content)
    return None


def _guarded(step: Callable[[Value], Result], value: Value) -> Result:
    try:
        return step(value)
    except FaceError:
        raise
    except MemoryError as error:
        raise OutOfMemory("There is not enough memory for this image now.") from error
    except Exception as error:
        # Decoders meet hostile bytes here and fail in many ways, struct.error and SyntaxError among them.
        raise UnreadableImage(f"The image is truncated or corrupt: {error}.") from error
