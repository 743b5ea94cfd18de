import resource
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faces.decode import Grey, decode, estimate
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


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF"])
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
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF"]), st.data())
def test_damaged_bytes_give_an_image_or_an_image_error(kind: str, data: st.DataObject) -> None:
    file = BytesIO()
    GREY.save(file, kind)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ImageError):
        assert decode(bytes(content), **LIMITS).ndim == 2


def progressive(scans: int) -> bytes:
    """A picture whose last scan comes again and again."""
    file = BytesIO()
    GREY.save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (scans + 1 - content.count(b"\xff\xda")) + b"\xff\xd9"


PNG_START, PNG_END = png_header(8, 8)[:33], png_header(8, 8)[33:]
GIF_START = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
# 10 MiB each, that a decoder would walk through for seconds.
HOSTILE = {
    "scans": progressive(10_000),
    "scans-of-a-baseline": b"\xff\xd8"
    + b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00" * 100_000,
    "segments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 2_600_000,
    "junk": b"\xff\xd8\xff\xfe\x00\x02" + bytes(10_400_000),
    "padding": b"\xff\xd8" + b"\xff" * 10_400_000,
    "png-chunks": PNG_START + chunk(b"tEXt", b"") * 800_000 + PNG_END,
    "png-idats": PNG_START + chunk(b"IDAT", b"") * 800_000 + PNG_END,
    "png-icc": PNG_START + chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(500_000_000))) + PNG_END,
    "gif-blocks": GIF_START + b"!\xfe" + b"\1a" * 5_000_000 + b"\0;",
    "gif-extensions": GIF_START + b"!\xfe\0" * 3_000_000 + b";",
    "gif-comment": GIF_START + b"!\xfe" + (b"\xff" + bytes(255)) * 40_000 + b"\0;",
    "webp-chunks": b"RIFF\0\0\0\0WEBP" + b"JUNK\0\0\0\0" * 1_300_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_holds_nobody_up(name: str) -> None:
    start = time.process_time()
    with suppress(ImageError):
        decode(HOSTILE[name], max_bytes=20 * 2**20, max_pixels=25_000_000)
    assert time.process_time() - start < 1


def test_scans_are_limited() -> None:
    assert decode(progressive(30), **LIMITS).shape == RAMP.shape
    with pytest.raises(TooLarge) as caught:
        decode(progressive(101), **LIMITS)
    assert caught.value.members == {"limit": 100, "unit": "scans", "size": 101}


@pytest.mark.parametrize(
    ("kind", "mode", "options", "limit"),
    [
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}, 20_000_000),
        ("WEBP", "RGBA", {"quality": 1}, 14_000_000),
        ("AVIF", "RGB", {"quality": 1, "speed": 10}, 14_000_000),
    ],
)
def test_a_format_that_takes_more_memory_has_a_lower_limit(
    encode: Encode, kind: str, mode: str, options: dict, limit: int
) -> None:
    with pytest.raises(TooLarge) as caught:
        decode(encode(Image.new(mode, (5500, 4500)), kind, **options), **LIMITS)
    assert caught.value.members["unit"] == "pixels"
    assert caught.value.members["limit"] < limit


def test_a_cost_is_told_from_the_header(encode: Encode) -> None:
    small = estimate(encode(Image.new("RGB", (400, 300)), "WEBP"), 1920)
    large = estimate(encode(Image.new("RGB", (4000, 3000)), "WEBP"), 1920)
    assert large.pixels == 100 * small.pixels == 12_000_000
    assert large.milliseconds > 10 * small.milliseconds
    assert large.memory > 40_000_000
    # Nothing behind the header is looked at.
    whole = encode(GREY, "JPEG")
    assert estimate(whole[:-200], 1920).pixels == RAMP.size


def test_a_smaller_scale_costs_less(encode: Encode) -> None:
    content = encode(Image.new("RGB", (4000, 3000)), "JPEG")
    assert estimate(content, 1000).milliseconds < estimate(content, 4000).milliseconds
    assert estimate(content, 1000).memory < estimate(content, 4000).memory


def test_more_scans_cost_more() -> None:
    assert estimate(progressive(90), 1920).milliseconds > estimate(progressive(10), 1920).milliseconds


def test_heic_is_read_or_named(encode: Encode) -> None:
    if find_spec("pillow_heif") is None:
        with pytest.raises(UnsupportedFormat, match="HEIC"):
            decode(struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1") + bytes(100), **LIMITS)
        return
    content = encode(GREY.convert("RGB"), "HEIF", quality=95)
    assert_close(decode(content, **LIMITS), RAMP, tolerance=6)


def test_a_video_is_named() -> None:
    with pytest.raises(UnsupportedFormat, match="video"):
        decode(struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"mp42") + bytes(100), **LIMITS)
