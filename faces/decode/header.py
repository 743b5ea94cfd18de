"""What a file says of its picture before any of it is decoded, and what decoding it will take."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.errors import TooLarge, UnreadableImage

Grey = NDArray[np.uint8]

_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


@dataclass(frozen=True, slots=True)
class Header:
    format: str
    """As people call it, with what makes it dear: "progressive JPEG"."""
    width: int
    """As stored, pixels; so is the height."""
    height: int
    load: Callable[[int], Grey]
    """The picture at 1 / scale of its size, as stored: uint8 [ceil(height / scale), ceil(width / scale)]."""
    held: float
    """Bytes a pixel that decoding holds at any scale."""
    scaled: float
    """Bytes a pixel of the decoded picture besides."""
    ns_a_pixel: float
    """Nanoseconds to decode a pixel of a flat picture at scale 1."""
    ns_a_byte: float
    """And for each byte of the file, which is its detail. Measured by benchmarks/memory.py, on one core of an EPYC."""
    orientation: int = 1
    """EXIF 2.32, tag 0x0112: 1 to 8."""
    scales: bool = False
    """The decoder itself skips what a smaller scale does not need."""

    @property
    def pixels(self) -> int:
        return self.width * self.height


class Parts:
    """Counts the parts of a file while they are walked: a file of a million tiny ones would hold a worker for seconds.

    Args:
        what: the file, in an error's words.
        unit: what the format calls its parts.
    """

    def __init__(self, what: str, unit: str, limit: int) -> None:
        self._what, self._unit, self._limit = what, unit, limit
        self._count = 0

    def count(self) -> None:
        self._count += 1
        if self._count > self._limit:
            raise TooLarge(self._what, unit=self._unit, limit=self._limit, size=self._count)


def broken(what: str) -> UnreadableImage:
    return UnreadableImage(f"The image is truncated or corrupt: {what}.")


def read_orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none to be read, broken metadata do not matter."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, directory + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
