"""PNG (W3C, third edition); of an animated one its first frame."""

import struct
import zlib
from functools import partial
from io import BytesIO

from PIL import Image

from faces.decode.header import Grey, Header, Parts, broken, read_orientation
from faces.decode.pixels import Tone, flatten, place, shrink, tone_of_gamma, tone_of_profile

Chunk = tuple[bytes, bytes | memoryview]
"""Its kind, and all of its bytes."""
Pair = tuple[int, int]

MAGIC = b"\x89PNG\r\n\x1a\n"

_CHUNKS = 20_000
"""libpng cuts 10 MiB of pixels into 1,280."""
_NOTED = {b"eXIf", b"iCCP", b"gAMA", b"sRGB"}
_END = b"\0\0\0\0IEND\xaeB`\x82"
_PROFILE_BYTES = 1 << 20
_GREY, _PALETTE = 0, 3
_CHANNELS = {2: 3, 4: 2, 6: 4}
_GREYS = (_GREY, 4)
"""Colour types without colours; the second has alpha."""


def read(content: bytes) -> Header:
    # A browser passes over chunks that it does not need, damaged ones too; Pillow would stop at them.
    chunks, ended = _chunks(content)
    kinds = [kind for kind, _ in chunks]
    if not kinds or kinds[0] != b"IHDR" or b"IDAT" not in kinds:
        raise broken("it has no picture")
    first = kinds.index(b"IDAT")
    header = chunks[0][1]
    width, height, depth, colour = struct.unpack_from(">IIBB", header, 8)
    # What is said behind the pixels came too late for whoever showed them.
    noted = {kind: bytes(chunk[8:-4]) for kind, chunk in chunks[:first] if kind in _NOTED and _intact(chunk)}
    size, corner, frame = _frame(chunks, kinds, first) or ((width, height), (0, 0), chunks[first:])
    still = [chunk for kind, chunk in chunks[1:first] if kind == b"PLTE" or (kind == b"tRNS" and _intact(chunk))]
    still += [chunk for kind, chunk in frame if kind == b"IDAT"]
    head = _chunk(b"IHDR", struct.pack(">II", *size) + header[16:21])
    held = (depth + 7) // 8 if colour in (_GREY, _PALETTE) else 4
    file = b"".join((MAGIC, head, *still, _END if ended else b""))
    return Header(
        "PNG",
        width,
        height,
        partial(_load, file, _tone(noted, grey=colour in _GREYS), (width, height), corner),
        held=held,
        # Pillow's grey picture is copied whole.
        scaled=2 if colour == _GREY and depth <= 8 else 1,
        ns_a_pixel=2.4 * _CHANNELS.get(colour, 1) * max(1, depth // 8),
        ns_a_byte=15,
        orientation=read_orientation(noted.get(b"eXIf", b"")),
    )


def _chunks(content: bytes) -> tuple[list[Chunk], bool]:
    """Kind and bytes of each, and whether the last one is whole: the end is all that may be missing."""
    parts, view, at = Parts("The PNG", "chunks", _CHUNKS), memoryview(content), len(MAGIC)
    chunks: list[Chunk] = []
    while at + 8 <= len(content):
        parts.count()
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IEND":
            break
        chunks.append((kind, view[at : at + 12 + length]))
        at += 12 + length
    return chunks, at <= len(content)


def _frame(chunks: list[Chunk], kinds: list[bytes], first: int) -> tuple[Pair, Pair, list[Chunk]] | None:
    """Size, corner and pixels of an animation's first frame, where its still picture, at `first`, is not that."""
    if b"acTL" not in kinds[:first] or b"fcTL" in kinds[:first] or b"fcTL" not in kinds:
        return None
    start = kinds.index(b"fcTL")
    end = kinds.index(b"fcTL", start + 1) if b"fcTL" in kinds[start + 1 :] else len(kinds)
    width, height, left, top = struct.unpack_from(">IIII", chunks[start][1], 12)
    canvas = struct.unpack_from(">II", chunks[0][1], 8)
    if left + width > canvas[0] or top + height > canvas[1]:
        raise broken("a frame is larger than its canvas")
    pixels: list[Chunk] = [
        (b"IDAT", _chunk(b"IDAT", chunk[12:-4])) for kind, chunk in chunks[start:end] if kind == b"fdAT"
    ]
    return (width, height), (left, top), pixels


def _intact(chunk: bytes | memoryview) -> bool:
    return len(chunk) >= 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))))


def _tone(noted: dict[bytes, bytes], *, grey: bool) -> Tone | None:
    if b"iCCP" in noted:
        # A name, a zero, the method of compression.
        packed = noted[b"iCCP"].partition(b"\0")[2][1:]
        try:
            return tone_of_profile(zlib.decompressobj().decompress(packed, _PROFILE_BYTES), grey)
        except zlib.error:
            return None
    if b"sRGB" in noted or len(noted.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(noted[b"gAMA"], "big") / 100_000
    return tone_of_gamma(gamma) if 0.1 <= gamma <= 10 else None


def _load(content: bytes, tone: Tone | None, canvas: tuple[int, int], corner: tuple[int, int], scale: int) -> Grey:
    with Image.open(BytesIO(content), formats=("PNG",)) as image:
        if image.size == canvas:
            return flatten(image, scale, tone)
        return shrink(place(flatten(image, tone=tone), canvas, corner), scale)
