"""JPEG (ITU-T T.81), the only format that is decoded at a fraction of its size."""

import re
import struct
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image

from faces.decode.header import Grey, Header, Parts, broken, read_orientation
from faces.decode.pixels import Tone, finish, flatten, tone_of_profile
from faces.errors import TooLarge

SCANS = 100
"""Scans of one file: each goes over the whole picture again, and libjpeg writes ten."""
_SEGMENTS = 2000
"""Segments before the first scan: XMP and colour profiles come in pieces of 64 KiB."""

_MARKER = re.compile(rb"\xff([^\0\xff])")
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SOS, _EOI, _APP0, _EXIF, _ICC, _ADOBE, _COMMENT = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_END = b"\xff\xd9"
_FILLERS = (128, 64)
"""Grey levels that libjpeg puts where pixels are missing: of three components or one, and of four."""
_LAST_BIT = 0x10
"""Successive approximation (G.1.2) of a scan that adds the last bit of coefficients."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What stands before the first scan."""

    # What decides the pixels: no comments, previews and second pictures.
    kept: list[bytes]
    exif: bytes
    profile: bytes
    # Marker and body of the frame's header.
    frame: tuple[int, bytes]
    # Where the first scan's header begins, behind its marker.
    scan: int


def _read_head(content: bytes) -> _Head:
    kept, exif, profile, frame = [content[:2]], b"", {}, None
    parts, at = Parts("The JPEG", "segments", _SEGMENTS), 2
    while True:
        parts.count()
        found = _MARKER.search(content, at)
        if found is None or found[1][0] == _EOI:
            raise broken("it has no picture")
        code, at = found[1][0], found.end()
        if code in _ALONE:
            continue
        if code == _SOS:
            break
        end = at + int.from_bytes(content[at : at + 2], "big")
        body = content[at + 2 : end]
        if code == _EXIF and body.startswith(b"Exif\0") and not exif:
            exif = body
        elif code == _ICC and body.startswith(b"ICC_PROFILE\0"):
            profile[body[12:13]] = body[14:]
        elif code in _SOF:
            if frame is not None:
                raise broken("it has two headers")
            frame = (code, body)
        if code in (_APP0, _ADOBE) or not _APP0 <= code <= _COMMENT:
            kept.append(content[found.end() - 2 : end])
        at = end
    if frame is None:
        raise broken("it has no header")
    return _Head(kept, exif, b"".join(profile[key] for key in sorted(profile)), frame, at)


def read(content: bytes) -> Header:
    head = _read_head(content)
    marker, frame = head.frame
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    sampling = [(value >> 4) * (value & 15) for value in frame[7 : 6 + 3 * components : 3]]
    largest = [max((value >> shift & 15 for value in frame[7 : 6 + 3 * components : 3]), default=0) for shift in (4, 0)]
    # Measured, as in every format: the pixels of a flat picture, the bytes of one with detail.
    ns_a_pixel, ns_a_byte = (2.6, 8.0) if components == 4 else (0.5, 7.0)
    in_scans = marker in _PROGRESSIVE or content[head.scan + 2 : head.scan + 3] != bytes([components])
    coefficients = 0.0
    if in_scans:
        scans = content.count(b"\xff\xda", head.scan - 2)
        if scans > SCANS:
            raise TooLarge("The JPEG", unit="scans", limit=SCANS, size=scans)
        # int16 for each sample of each component until the last scan is in.
        coefficients = 2 * sum(sampling) / (largest[0] * largest[1])
        ns_a_pixel, ns_a_byte = ns_a_pixel + 0.1 * coefficients * scans, 25
    tone = tone_of_profile(head.profile, grey=components == 1) if head.profile else None
    return Header(
        "progressive JPEG" if in_scans else "JPEG",
        width,
        height,
        partial(_load, b"".join([*head.kept, content[head.scan - 2 :]]), in_scans, tone),
        held=coefficients,
        # Pillow's picture, a copy of it and ours.
        scaled=5 if components == 4 else 3,
        ns_a_pixel=ns_a_pixel,
        ns_a_byte=ns_a_byte,
        orientation=read_orientation(head.exif),
        scales=True,
    )


def _load(content: bytes, in_scans: bool, tone: Tone | None, scale: int) -> Grey:
    try:
        grey = _decode(content, scale)
    except OSError:
        # Browsers show a file without its end, and so do we where that is about all it lacks.
        if content.endswith(_END):
            raise
        grey = _decode(content + _END, scale)
        if _lacks_much(content, in_scans, grey):
            raise
    return finish(grey, tone)


def _decode(content: bytes, scale: int) -> Grey:
    with Image.open(BytesIO(content), formats=("JPEG",)) as image:
        # A decoder asked for grey skips the colour planes: a third to two thirds of the time.
        image.draft("L", (max(1, image.width // scale), max(1, image.height // scale)))
        return flatten(image)


def _lacks_much(content: bytes, in_scans: bool, grey: Grey) -> bool:
    if in_scans:
        # All but the last bit of the coefficients is there where a scan that adds it has begun.
        last = content.rfind(b"\xff\xda")
        length = int.from_bytes(content[last + 2 : last + 4], "big")
        return content[last + 1 + length : last + 2 + length] != bytes([_LAST_BIT])
    bottom = grey[-max(1, len(grey) // 16) :]
    return bool(np.isin(bottom, _FILLERS).mean() > 0.5)
