"""BMP (Windows 2 to 98 and OS/2): uncompressed ones by numpy, run-length encoded ones by OpenCV."""

import struct
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.decode.header import Grey, Header, broken
from faces.decode.pixels import STRIP, finish, shrink

_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_CORE = 12
"""Bytes of the oldest header; the second oldest is as long as the masks lie behind it."""
_INFO = 40
_V4 = 108
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
"""Red, green, blue, alpha, where the file has none."""


@dataclass(frozen=True, slots=True)
class _Layout:
    width: int
    height: int
    """Negative: the first row is the top one."""
    bits: int
    offset: int
    """Of the pixels, from the beginning of the file."""
    masks: tuple[int, int, int, int]
    palette: Grey
    """[256], grey levels."""


def read(content: bytes) -> Header:
    offset, size = struct.unpack_from("<II", content, 10)
    # Headers are each the beginning of the next longer one, but for the first.
    header = content[14 : 14 + max(size, _INFO + 16)].ljust(_INFO + 16, b"\0")
    compression = used = 0
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", header, 4)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", header, 4)
        if size >= _INFO:
            (compression,), (used,) = struct.unpack_from("<I", header, 16), struct.unpack_from("<I", header, 32)
    if width <= 0 or height == 0:
        raise broken("it has no pixels")
    encoded = compression in (_RLE8, _RLE4)
    masked = compression in (_BITFIELDS, _ALPHA_BITFIELDS)
    if not encoded and (
        bits not in (1, 2, 4, 8, 16, 24, 32) or (compression != _RGB and not (masked and bits in _MASKS))
    ):
        raise broken(f"it has {bits} bits a pixel and compression {compression}")
    red, green, blue, alpha = struct.unpack_from("<IIII", header, _INFO)
    if not masked:
        # Of these, a longer header's mask of alpha alone counts.
        red, green, blue, _ = _MASKS.get(bits, (0, 0, 0, 0))
        alpha = alpha if bits in _MASKS and size >= _V4 else 0
    elif size == _INFO and compression == _BITFIELDS:
        # What lies behind three masks is no fourth one.
        alpha = 0
    behind = 14 + size + (12 if compression == _BITFIELDS and size == _INFO else 0)
    palette = _palette(content[behind:offset], 3 if size == _CORE else 4, used, bits)
    layout = _Layout(width, height, bits, offset, (red, green, blue, alpha), palette)
    load = partial(_decode_runs, content) if encoded else partial(_load, content, layout)
    return Header(
        "BMP",
        width,
        abs(height),
        load,
        # OpenCV decodes in colour first.
        held=4 if encoded else 0,
        scaled=1,
        ns_a_pixel=2,
        ns_a_byte=0,
    )


def _palette(table: bytes, entry: int, used: int, bits: int) -> Grey:
    grey = np.zeros(256, np.uint8)
    if bits <= 8:
        count = min(len(table) // entry, used or 256, 256)
        colours = np.frombuffer(table, np.uint8, count * entry).reshape(1, count, entry)[..., :3]
        if count:
            grey[:count] = cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_BGR2GRAY)[0]
    return grey


def _load(content: bytes, layout: _Layout, scale: int) -> Grey:
    width, height = layout.width, abs(layout.height)
    stride = (width * layout.bits + 31) // 32 * 4
    if layout.offset + stride * height > len(content) + 3:
        raise broken("pixels are missing")
    # The last row may lack its padding.
    stored = np.frombuffer(
        content.ljust(layout.offset + stride * height, b"\0"), np.uint8, stride * height, layout.offset
    )
    rows = stored.reshape(height, stride)[:: -1 if layout.height > 0 else 1]
    opaque = not layout.masks[3] or not _any_alpha(rows, layout)
    grey = np.empty((-(-height // scale), -(-width // scale)), np.uint8)
    step = max(1, STRIP // width // scale) * scale
    for top in range(0, height, step):
        strip = _flat(np.ascontiguousarray(rows[top : top + step]), layout, opaque)
        grey[top // scale : -(-(top + step) // scale)] = shrink(strip, scale)
    return grey


def _any_alpha(rows: Grey, layout: _Layout) -> bool:
    # Programs that know of no alpha leave it 0, and mean an opaque picture.
    pixels = rows[:, : layout.width * layout.bits // 8].view(f"<u{layout.bits // 8}")
    return any((pixels[top : top + 64] & layout.masks[3]).any() for top in range(0, len(pixels), 64))


def _flat(rows: Grey, layout: _Layout, opaque: bool) -> Grey:
    width, bits = layout.width, layout.bits
    if bits <= 8:
        indices = np.unpackbits(rows, axis=1).reshape(len(rows), -1, bits)
        weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.uint8)
        return layout.palette[
            (indices * weights).sum(axis=2, dtype=np.uint8)[:, :width] if bits < 8 else rows[:, :width]
        ]
    if bits == 24:
        return cv2.cvtColor(rows[:, : 3 * width].reshape(len(rows), width, 3), cv2.COLOR_BGR2GRAY)  # type: ignore[return-value]
    pixels = rows.view(f"<u{bits // 8}")[:, :width]
    red, green, blue, alpha = (_channel(pixels, mask) for mask in layout.masks)
    grey = cv2.cvtColor(np.stack([red, green, blue], axis=2), cv2.COLOR_RGB2GRAY)
    return finish(grey, alpha=None if opaque else alpha)  # type: ignore[arg-type]


def _channel(pixels: NDArray[np.unsignedinteger], mask: int) -> Grey:
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    largest = mask >> shift
    return np.round(((pixels & mask) >> shift) * (255 / largest)).astype(np.uint8)


def _decode_runs(content: bytes, scale: int) -> Grey:
    # The end of the picture; OpenCV would fill up what is missing before it.
    if b"\0\1" not in content[-4:]:
        raise broken("pixels are missing")
    grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise broken("its pixels cannot be read")
    return shrink(grey, scale)  # type: ignore[arg-type]
