"""PNG (W3C, third edition); of an animated one its still picture."""

import struct
import zlib
from functools import partial
from io import BytesIO

from PIL import Image

from faces.decode.header import Grey, Header, Parts, broken, read_orientation
from faces.decode.pixels import Tone, flatten, tone_of_gamma, tone_of_profile

MAGIC = b"\x89PNG\r\n\x1a\n"

_CHUNKS = 20_000
"""libpng cuts 10 MiB of pixels into 1,280."""
_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"tRNS"}
_READ = {b"eXIf", b"iCCP", b"gAMA", b"sRGB"}
_END = b"\0\0\0\0IEND\xaeB`\x82"
_PROFILE_BYTES = 1 << 20
_GREY, _PALETTE = 0, 3


def read(content: bytes) -> Header:
    # A browser passes over chunks that it does not need, damaged ones too; Pillow would stop at them.
    kept, noted, at = [MAGIC], dict[bytes, bytes](), len(MAGIC)
    parts = Parts("The PNG", "chunks", _CHUNKS)
    while at + 8 <= len(content):
        parts.count()
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if kind == b"IEND":
            break
        if kind in _READ or kind == b"tRNS":
            checked = memoryview(content)[at + 4 : end - 4]
            if end > len(content) or zlib.crc32(checked) != int.from_bytes(content[end - 4 : end], "big"):
                kind = b""
        if kind in _READ:
            noted.setdefault(kind, content[at + 8 : end - 4])
        elif kind in _KEPT:
            kept.append(content[at:end])
        at = end
    if at <= len(content):
        kept.append(_END)
    if len(kept) < 2 or kept[1][4:8] != b"IHDR":
        raise broken("it has no header")
    width, height, depth, colour = struct.unpack_from(">IIBB", kept[1], 8)
    held = (depth + 7) // 8 if colour in (_GREY, _PALETTE) else 4
    return Header(
        "PNG",
        width,
        height,
        partial(_load, b"".join(kept), _tone(noted)),
        held=held,
        scaled=1,
        ns_a_pixel=0,
        ns_a_byte=0,
        orientation=read_orientation(noted.get(b"eXIf", b"")),
    )


def _tone(noted: dict[bytes, bytes]) -> Tone | None:
    if b"iCCP" in noted:
        # A name, a zero, the method of compression.
        packed = noted[b"iCCP"].partition(b"\0")[2][1:]
        try:
            return tone_of_profile(zlib.decompressobj().decompress(packed, _PROFILE_BYTES))
        except zlib.error:
            return None
    if b"sRGB" in noted or len(noted.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(noted[b"gAMA"], "big") / 100_000
    return tone_of_gamma(gamma) if 0.1 <= gamma <= 10 else None


def _load(content: bytes, tone: Tone | None, scale: int) -> Grey:
    with Image.open(BytesIO(content), formats=("PNG",)) as image:
        return flatten(image, scale, tone)
