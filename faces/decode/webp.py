"""WebP (RFC 9649), of an animation its first frame; by OpenCV, which takes a third of the memory that Pillow does."""

import struct
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.decode.header import Grey, Header, Parts, broken, read_orientation
from faces.decode.pixels import STRIP, Tone, finish, place, shrink, tone_of_profile

_CHUNKS = 1000
_ALPHA = 0x10


def read(content: bytes) -> Header:
    chunks = _chunks(content, 12, len(content))
    canvas, corner = None, (0, 0)
    if b"VP8X" in chunks:
        canvas = (_u24(chunks[b"VP8X"], 4) + 1, _u24(chunks[b"VP8X"], 7) + 1)
    frame = chunks
    if b"ANMF" in chunks:
        body = chunks[b"ANMF"]
        corner = (2 * _u24(body, 0), 2 * _u24(body, 3))
        frame = _chunks(body, 16, len(body))
    if b"VP8L" in frame:
        (bits,) = struct.unpack_from("<I", frame[b"VP8L"], 1)
        size, alpha, lossless = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1), True
        still = _chunk(b"VP8L", frame[b"VP8L"])
    elif b"VP8 " in frame:
        wide, high = struct.unpack_from("<HH", frame[b"VP8 "], 6)
        size, alpha, lossless = (wide & 0x3FFF, high & 0x3FFF), b"ALPH" in frame, False
        still = _chunk(b"VP8 ", frame[b"VP8 "])
        if alpha:
            extended = struct.pack("<I", _ALPHA) + b"".join((side - 1).to_bytes(3, "little") for side in size)
            still = _chunk(b"VP8X", extended) + _chunk(b"ALPH", frame[b"ALPH"]) + still
    else:
        raise broken("it has no picture")
    canvas = canvas or size
    if corner[0] + size[0] > canvas[0] or corner[1] + size[1] > canvas[1]:
        raise broken("its picture is larger than its canvas")
    tone = tone_of_profile(chunks[b"ICCP"], grey=False) if b"ICCP" in chunks else None
    return Header(
        "WebP with alpha" if alpha else "lossless WebP" if lossless else "WebP",
        *canvas,
        partial(_load, _chunk(b"RIFF", b"WEBP" + still), alpha, tone, canvas, corner),
        held=8.6 if alpha else 7.4 if lossless else 4.1,
        scaled=0 if canvas == size else 1,
        ns_a_pixel=6 if alpha else 1.3,
        ns_a_byte=15 if lossless else 60,
        orientation=read_orientation(chunks.get(b"EXIF", b"")),
    )


def _chunks(content: bytes, at: int, end: int) -> dict[bytes, bytes]:
    """The first chunk of each kind."""
    parts = Parts("The WebP", "chunks", _CHUNKS)
    found: dict[bytes, bytes] = {}
    while at + 8 <= end:
        parts.count()
        kind, length = struct.unpack_from("<4sI", content, at)
        # The pixels of later frames are not needed.
        if kind not in found:
            found[kind] = content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return found


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _u24(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 3], "little")


def _load(
    content: bytes, alpha: bool, tone: Tone | None, canvas: tuple[int, int], corner: tuple[int, int], scale: int
) -> Grey:
    # Grey takes a byte a pixel less than colour, but has no alpha.
    flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_GRAYSCALE)
    picture: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(content, np.uint8), flags)  # type: ignore[assignment]
    if picture is None:
        raise broken("its pixels cannot be read")
    frame = finish(picture, tone) if picture.ndim == 2 else _opaque(picture, tone)
    return shrink(place(frame, canvas, corner), scale)


def _opaque(picture: NDArray[np.uint8], tone: Tone | None) -> Grey:
    """
    Args:
        picture: [height, width, 4], blue, green, red, alpha.
    """
    height, width = picture.shape[:2]
    grey = np.empty((height, width), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = picture[top : top + rows]
        luma = np.asarray(cv2.cvtColor(strip, cv2.COLOR_BGRA2GRAY), np.uint8)
        grey[top : top + rows] = finish(luma, tone, strip[..., 3])
    return grey
