"""GIF (87a, 89a): its first frame."""

import struct
from functools import partial
from io import BytesIO

from PIL import Image

from faces.decode.header import Grey, Header, Parts, broken
from faces.decode.pixels import flatten, place, shrink

_BLOCKS = 200_000
"""An encoder cuts 10 MiB of pixels into 41,000."""
_EXTENSION, _GRAPHIC_CONTROL, _IMAGE = 0x21, 0xF9, 0x2C


def read(content: bytes) -> Header:
    parts = Parts("The GIF", "blocks", _BLOCKS)
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + _palette(flags)
    control = b""
    while content[at] == _EXTENSION:
        end = _skip(content, at + 2, parts)
        if content[at + 1] == _GRAPHIC_CONTROL:
            control = content[at:end]
        at = end
    if content[at] != _IMAGE:
        raise broken("it has no picture")
    left, top, wide, high, local = struct.unpack_from("<HHHHB", content, at + 1)
    pixels = at + 10 + _palette(local) + 1
    end = _skip(content, pixels, parts)
    # The same frame as a picture of its own.
    still = b"".join(
        (
            content[:6], struct.pack("<HH", wide, high), content[10 : 13 + _palette(flags)], control,
            struct.pack("<BHHHH", _IMAGE, 0, 0, wide, high), content[at + 9 : end], b";",
        )
    )  # fmt: skip
    # A canvas that is smaller than its first frame grows.
    width, height = max(width, left + wide), max(height, top + high)
    return Header(
        "GIF",
        width,
        height,
        partial(_load, still, (width, height), (left, top)),
        held=2,
        scaled=0 if (width, height) == (wide, high) else 1,
        ns_a_pixel=3.3,
        ns_a_byte=4,
    )


def _palette(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip(content: bytes, at: int, parts: Parts) -> int:
    """Where the blocks end that begin there."""
    while content[at]:
        parts.count()
        at += content[at] + 1
    return at + 1


def _load(content: bytes, canvas: tuple[int, int], corner: tuple[int, int], scale: int) -> Grey:
    with Image.open(BytesIO(content), formats=("GIF",)) as image:
        frame = flatten(image)
    return shrink(place(frame, canvas, corner), scale)
