import resource
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faces.decode import Grey, decode
from faces.errors import ImageError, TooLarge, UnreadableImage, UnsupportedFormat

LIMITS = {"max_bytes": 10 * 2**20, "max_pixels": 25_000_000}

# Dark on the left, bright on the right, darker towards the bottom: no flip or rotation maps it to itself.
RAMP = np.clip(np.arange(80)[None, :] * 3 - np.arange(60)[:, None], 0, 255).astype(np.uint8)
GREY = Image.fromarray(RAMP)

Encode = Callable[..., bytes]


def assert_close(actual: Grey, expected: Grey, tolerance: int = 2) -> None:
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected.astype(int)).max() <= tolerance


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 100}),
        ("JPEG", {"quality": 100, "progressive": True}),
        # What many phones write: JPEG with a second picture behind it.
        ("MPO", {"quality": 100, "save_all": True, "append_images": [GREY]}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_each_format_gives_the_same_grey(encode: Encode, kind: str, mode: str, options: dict) -> None:
    assert_close(decode(encode(GREY.convert(mode), kind, **options), **LIMITS), RAMP)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_opaque_png_modes(encode: Encode, mode: str) -> None:
    assert_close(decode(encode(GREY.convert(mode)), **LIMITS), RAMP)


def test_bilevel_png(encode: Encode) -> None:
    image = GREY.point(lambda value: 255 * (value > 100)).convert("1")
    assert_close(decode(encode(image), **LIMITS), np.where(RAMP > 100, 255, 0).astype(np.uint8))


def test_16_bit_png_is_scaled_and_not_clipped(encode: Encode) -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert image.mode == "I;16"
    assert_close(decode(encode(image), **LIMITS), RAMP)


def test_cmyk_jpeg_with_adobe_marker(encode: Encode) -> None:
    content = encode(GREY.convert("RGB").convert("CMYK"), "JPEG", quality=100)
    assert b"Adobe" in content
    assert_close(decode(content, **LIMITS), RAMP, tolerance=4)


def test_colour_becomes_luma(encode: Encode) -> None:
    # ITU-R BT.601, which JPEG's Y plane holds too: 0.299 R + 0.587 G + 0.114 B.
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    for kind in ("PNG", "JPEG", "BMP"):
        assert_close(decode(encode(red, kind), **LIMITS), np.full((16, 16), 76, np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white(encode: Encode, mode: str) -> None:
    # In a palette image it is an index that is transparent.
    options = {"transparency": 0} if mode == "P" else {}
    content = encode(Image.new(mode, (8, 8), 0), **options)
    assert (decode(content, **LIMITS) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_gives_its_first_frame(encode: Encode, kind: str) -> None:
    black = Image.new("L", GREY.size)
    content = encode(GREY.convert("RGB"), kind, save_all=True, append_images=[black.convert("RGB")], lossless=True)
    assert Image.open(BytesIO(content)).n_frames == 2
    assert_close(decode(content, **LIMITS), RAMP)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_all_eight_exif_orientations_come_out_upright(encode: Encode, kind: str, orientation: int) -> None:
    # How a camera stores it: the inverse of what EXIF says a viewer must do.
    stored = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda image: np.rot90(image, 1),
        7: lambda image: np.rot90(np.transpose(image), 2),
        8: lambda image: np.rot90(image, 3),
    }[orientation](RAMP)
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    content = encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **quality)
    assert_close(decode(content, **LIMITS), RAMP)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"]
)
def test_broken_exif_does_not_matter(encode: Encode, exif: bytes) -> None:
    assert_close(decode(encode(GREY, "JPEG", quality=100, exif=exif), **LIMITS), RAMP)


def test_bytes_over_the_limit(encode: Encode) -> None:
    with pytest.raises(TooLarge) as caught:
        decode(b"\xff" * 1001, max_bytes=1000, max_pixels=10)
    assert caught.value.members == {"limit": 1000, "unit": "bytes", "size": 1001}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_pixels_over_the_limit_cost_no_memory(kind: str) -> None:
    side = 16_383 if kind == "WEBP" else 20_000
    if kind == "PNG":
        content = png_header(side, side)
    elif kind == "BMP":
        content = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    else:
        extended = struct.pack("<I", 0) + (side - 1).to_bytes(3, "little") * 2
        frame = b"VP8L" + struct.pack("<I", 6) + b"\x2f" + struct.pack("<I", side - 1 | (side - 1) << 14) + b"\0"
        body = b"WEBPVP8X" + struct.pack("<I", len(extended)) + extended + frame
        content = b"RIFF" + struct.pack("<I", len(body)) + body
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge) as caught:
        decode(content, **LIMITS)
    assert caught.value.members["limit"] <= 25_000_000
    assert caught.value.members["size"] == side * side
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes_decode(encode: Encode, size: tuple[int, int]) -> None:
    assert decode(encode(Image.new("L", size)), **LIMITS).shape == size[::-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_errors(encode: Encode, kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8))
    content = encode(noise, kind)
    with pytest.raises(UnreadableImage):
        decode(content[: int(len(content) * share)], **LIMITS)


def test_empty() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"", **LIMITS)


@pytest.mark.parametrize(
    ("content", "name"), [(b"hello, world", "not an image"), (b"%PDF-1.7", "PDF"), (b"<svg/>", "SVG")]
)
def test_other_content(content: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        decode(content, **LIMITS)


@pytest.mark.parametrize("kind", ["TIFF"])
def test_other_image_formats_are_named(encode: Encode, kind: str) -> None:
    with pytest.raises(UnsupportedFormat, match=kind):
        decode(encode(GREY, kind), **LIMITS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.data())
def test_damaged_bytes_give_an_image_or_an_image_error(kind: str, data: st.DataObject) -> None:
    file = BytesIO()
    GREY.save(file, kind)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImageError):
        assert decode(bytes(content), **LIMITS).ndim == 2
