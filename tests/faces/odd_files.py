"""Photos in every shape that programs write them: generated, small, each by what is odd about it."""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 80, 60
Rgb = np.ndarray[Any, np.dtype[np.uint8]]


def picture() -> Image.Image:
    """No flip or turn maps it to itself; smooth, so that subsampled chroma costs little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    red, green, blue = 40 + 2.5 * x, 220 - 2 * y - 0.4 * x, 30 + 1.2 * (x + y)
    return Image.fromarray(np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8))


PICTURE = picture()
GREY = PICTURE.convert("L")
ALPHA = Image.fromarray(np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None], HEIGHT, axis=0))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_alpha(image: Image.Image, alpha: Image.Image = ALPHA) -> Image.Image:
    image = image.convert("LA" if image.mode == "L" else "RGBA")
    image.putalpha(alpha)
    return image


def gamma_profile(gamma: float, space: str) -> bytes:
    """A matrix profile of sRGB's primaries, or one of greys, whose tone curve is a power (ICC.1:2010)."""
    fixed = lambda value: struct.pack(">i", round(value * 65536))  # noqa: E731
    xyz = lambda *values: b"XYZ \0\0\0\0" + b"".join(map(fixed, values))  # noqa: E731
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 79,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {
            b"rXYZ": xyz(0.4360, 0.2225, 0.0139),
            b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
            b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
            b"rTRC": curve,
            b"gTRC": curve,
            b"bTRC": curve,
        }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02100000, b"mntr", space.encode().ljust(4), b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


# PNG


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """Chunks behind the header."""
    return png[:33] + b"".join(chunks) + png[33:]


def raw_png(rows: bytes, width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG of unfiltered rows."""
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *chunks,
            chunk(b"IDAT", zlib.compress(filtered)),
            chunk(b"IEND", b""),
        )
    )


def interlaced_png(image: Image.Image) -> bytes:
    pixels = np.asarray(image)
    rows = b""
    for y, x, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::right])
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def animated_png(first: Image.Image, second: Image.Image, *, hidden: bool) -> bytes:
    """`hidden`: the still picture, which older programs show, is not a part of the animation."""

    def data(image: Image.Image) -> bytes:
        return encoded(image, "PNG").split(b"IDAT", 1)[1][
            : int.from_bytes(encoded(image, "PNG").split(b"IDAT", 1)[0][-4:], "big")
        ]

    def control(number: int, image: Image.Image, x: int, y: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *image.size, x, y, 1, 1, 0, 0))

    still = encoded(first, "PNG")
    frames = chunk(b"acTL", struct.pack(">II", 1 if hidden else 2, 0))
    if not hidden:
        frames += control(0, first, 0, 0)
    start = 0 if hidden else 1
    behind = control(start, second, 5, 5) + chunk(b"fdAT", struct.pack(">I", start + 1) + data(second))
    return still[:33] + frames + still[33:-12] + behind + still[-12:]


def pngs() -> Iterator[tuple[str, bytes]]:
    plain = encoded(PICTURE, "PNG")
    yield "plain", plain
    yield "grey", encoded(GREY, "PNG")
    yield "alpha", encoded(with_alpha(PICTURE), "PNG")
    yield "grey-alpha", encoded(with_alpha(GREY), "PNG")
    yield "palette", encoded(PICTURE.quantize(64), "PNG")
    yield "palette-4bit", encoded(PICTURE.quantize(16), "PNG", bits=4)
    yield "palette-transparent", encoded(PICTURE.quantize(64), "PNG", transparency=bytes(range(0, 256, 4)))
    yield "bilevel", encoded(GREY.convert("1"), "PNG")
    yield "grey-2bit", raw_png(bytes([0b00011011] * (WIDTH // 4)) * HEIGHT, WIDTH, HEIGHT, 2, 0)
    yield "grey-4bit", raw_png(bytes(range(0, 160, 4)) * HEIGHT, WIDTH, HEIGHT, 4, 0)
    deep = np.asarray(GREY, ">u2") * 257
    yield "grey-16bit", raw_png(deep.tobytes(), WIDTH, HEIGHT, 16, 0)
    yield "grey-16bit-key", raw_png(deep.tobytes(), WIDTH, HEIGHT, 16, 0, chunk(b"tRNS", deep[30, 40].tobytes()))
    yield "rgb-16bit", raw_png((np.asarray(PICTURE).astype(">u2") * 257).tobytes(), WIDTH, HEIGHT, 16, 2)
    yield "rgba-16bit", raw_png((np.asarray(with_alpha(PICTURE)).astype(">u2") * 257).tobytes(), WIDTH, HEIGHT, 16, 6)
    yield (
        "grey-alpha-16bit",
        raw_png((np.asarray(with_alpha(GREY)).astype(">u2") * 257).tobytes(), WIDTH, HEIGHT, 16, 4),
    )
    key = np.asarray(PICTURE)[30, 40].astype(">u2").tobytes()
    yield "rgb-key", raw_png(PICTURE.tobytes(), WIDTH, HEIGHT, 8, 2, chunk(b"tRNS", key))
    yield "grey-key", raw_png(GREY.tobytes(), WIDTH, HEIGHT, 8, 0, chunk(b"tRNS", b"\0\x80"))
    yield "interlaced", interlaced_png(PICTURE)
    yield "text-bad-crc", with_chunks(plain, chunk(b"tEXt", b"Comment\0hello", crc=1))
    yield "gama-short", with_chunks(plain, chunk(b"gAMA", b"\0\1"))
    yield "gama-zero", with_chunks(plain, chunk(b"gAMA", b"\0\0\0\0"))
    yield "phys-short", with_chunks(plain, chunk(b"pHYs", b"\0\1"))
    yield "chrm-short", with_chunks(plain, chunk(b"cHRM", b"\0\1"))
    yield "iccp-empty", with_chunks(plain, chunk(b"iCCP", b""))
    yield "iccp-garbage", with_chunks(plain, chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"garbage")))
    yield "trns-bad-crc", with_chunks(plain, chunk(b"tRNS", key, crc=1))
    noise = np.random.default_rng(0).bytes(2 << 20)
    yield "ztxt-2mb", with_chunks(plain, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (2 << 20))))
    yield "itxt-2mb", with_chunks(plain, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"a" * (2 << 20)))
    yield "iccp-2mb", with_chunks(plain, chunk(b"iCCP", b"icc\0\0" + zlib.compress(noise)))
    yield "gamma-1.0", with_chunks(plain, chunk(b"gAMA", struct.pack(">I", 100_000)))
    yield "gamma-1.0-srgb", with_chunks(plain, chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\0"))
    yield "gamma-2.2", with_chunks(plain, chunk(b"gAMA", struct.pack(">I", 45_455)))
    yield "gamma-1.8", with_chunks(plain, chunk(b"gAMA", struct.pack(">I", 55_556)))
    yield "icc-gamma-1.0", encoded(PICTURE, "PNG", icc_profile=gamma_profile(1.0, "RGB"))
    yield "icc-gamma-1.8", encoded(PICTURE, "PNG", icc_profile=gamma_profile(1.8, "RGB"))
    yield "icc-grey-gamma-1.0", encoded(GREY, "PNG", icc_profile=gamma_profile(1.0, "GRAY"))
    yield "icc-grey-on-rgb", encoded(PICTURE, "PNG", icc_profile=gamma_profile(1.0, "GRAY"))
    yield "icc-rgb-on-grey", encoded(GREY, "PNG", icc_profile=gamma_profile(1.0, "RGB"))
    yield (
        "icc-srgb",
        encoded(PICTURE, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    )
    yield "trailing", plain + b"\0" * 1000
    yield "no-end", plain[:-12]
    yield "tiny-idats", split_idat(plain, 7)
    yield "animated", animated_png(PICTURE, Image.new("RGB", (20, 20), "red"), hidden=False)
    yield "animated-hidden", animated_png(PICTURE, Image.new("RGB", (40, 30), "red"), hidden=True)
    yield (
        "exif-in-text",
        with_chunks(plain, chunk(b"tEXt", b"Raw profile type exif\0\nexif\n   34\n" + oriented(6).hex().encode())),
    )


def split_idat(png: bytes, size: int) -> bytes:
    at = png.index(b"IDAT") - 4
    length = int.from_bytes(png[at : at + 4], "big")
    body = png[at + 8 : at + 8 + length]
    pieces = (chunk(b"IDAT", body[part : part + size]) for part in range(0, length, size))
    return png[:at] + b"".join(pieces) + png[at + 12 + length :]


# JPEG


def oriented(orientation: int, order: str = "<") -> bytes:
    """EXIF that holds nothing else."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(f"{order}HH", orientation, 0)
    return b"Exif\0\0" + magic + struct.pack(f"{order}IHHHI", 8, 1, 0x0112, 3, 1) + value + b"\0" * 4


def segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def with_segment(jpeg: bytes, code: int, body: bytes) -> bytes:
    return jpeg[:2] + segment(code, body) + jpeg[2:]


def cmyk(image: Image.Image) -> Image.Image:
    """With black, as printers have it."""
    colours = 255 - np.asarray(image).astype(int)
    black = colours.min(axis=2, keepdims=True) // 2
    without = (colours - black) * 255 // (255 - black)
    return Image.fromarray(np.concatenate([without, black], axis=2).astype(np.uint8), "CMYK")


def jpegs() -> Iterator[tuple[str, bytes]]:
    plain = encoded(PICTURE, "JPEG", quality=95)
    progressive = encoded(PICTURE, "JPEG", quality=95, progressive=True)
    yield "plain", plain
    yield "grey", encoded(GREY, "JPEG", quality=95)
    yield "progressive", progressive
    yield "444", encoded(PICTURE, "JPEG", quality=95, subsampling=0)
    yield "422", encoded(PICTURE, "JPEG", quality=95, subsampling=1)
    yield "restart-markers", encoded(PICTURE, "JPEG", quality=95, restart_marker_rows=1)
    yield "rgb", encoded(PICTURE, "JPEG", quality=95, keep_rgb=True)
    inks = cmyk(PICTURE)
    adobe = encoded(inks, "JPEG", quality=95)
    yield "cmyk-adobe", adobe
    at = adobe.index(b"Adobe")
    yield "cmyk-bare", adobe[: at - 4] + adobe[at + 12 :]
    light = Image.fromarray(255 - np.asarray(inks)[..., :3]).convert("YCbCr")
    inverted = np.concatenate([255 - np.asarray(light), np.asarray(inks)[..., 3:]], axis=2)
    ycck = encoded(Image.fromarray(inverted, "CMYK"), "JPEG", quality=95)
    at = ycck.index(b"Adobe")
    yield "ycck-adobe", ycck[: at + 11] + b"\2" + ycck[at + 12 :]
    yield "no-end", plain[:-2]
    yield "progressive-no-end", progressive[:-2]
    yield "last-rows-missing", plain[:-20]
    yield "garbage-behind", plain + b"\xff\xd8garbage" * 100
    yield "garbage-between", plain[:2] + segment(0xFE, b"hello") + b"\0\0\0" + plain[2:]
    yield "padded-markers", plain[:2] + b"\xff\xff\xff" + plain[2:]
    yield "exif-6-and-8", with_segment(with_segment(plain, 0xE1, oriented(8)), 0xE1, oriented(6))
    yield "exif-big-endian", with_segment(plain, 0xE1, oriented(6, ">"))
    yield "exif-9", with_segment(plain, 0xE1, oriented(9))
    yield "exif-garbage", with_segment(plain, 0xE1, b"Exif\0\0garbage")
    yield (
        "xmp-orientation",
        with_segment(
            plain,
            0xE1,
            b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
            b"xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description "
            b"xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation='6'/></rdf:RDF></x:xmpmeta>",
        ),
    )
    yield "mpo", encoded(PICTURE, "MPO", quality=95, save_all=True, append_images=[GREY])
    yield "icc-gamma-1.0", encoded(PICTURE, "JPEG", quality=95, icc_profile=gamma_profile(1.0, "RGB"))
    yield "icc-gamma-1.8", encoded(PICTURE, "JPEG", quality=95, icc_profile=gamma_profile(1.8, "RGB"))
    yield "icc-grey-gamma-1.0", encoded(GREY, "JPEG", quality=95, icc_profile=gamma_profile(1.0, "GRAY"))
    yield "icc-grey-on-rgb", encoded(PICTURE, "JPEG", quality=95, icc_profile=gamma_profile(1.0, "GRAY"))
    yield "odd-size", encoded(PICTURE.crop((0, 0, 73, 51)), "JPEG", quality=95)


# BMP


def bmp(
    rows: bytes,
    bits: int,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    compression: int = 0,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    header: int = 40,
) -> bytes:
    """
    Args:
        height: negative where the first row is the top one.
    """
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        entries = len(palette) // 4
        info = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(rows), 2835, 2835, entries, 0
        )
        # Longer headers hold the masks, shorter ones have them behind.
        info = (info + b"".join(struct.pack("<I", mask) for mask in masks)).ljust(header, b"\0")
    offset = 14 + len(info) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset) + info + palette + rows


def packed(image: Image.Image, masks: tuple[int, ...], kind: str) -> bytes:
    """Pixels from bottom to top, each channel where its mask says."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint32)
    for channel, mask in zip(np.moveaxis(np.asarray(image).astype(np.uint32), 2, 0), masks, strict=False):
        if mask:
            low = (mask & -mask).bit_length() - 1
            pixels |= (channel * (mask >> low) + 127) // 255 << low
    return pixels[::-1].astype(kind).tobytes()


def bmps() -> Iterator[tuple[str, bytes]]:
    yield "24", encoded(PICTURE, "BMP")
    flipped = np.asarray(PICTURE)[..., ::-1]
    yield "24-top-down", bmp(flipped.tobytes(), 24, height=-HEIGHT)
    yield "24-core", bmp(flipped[::-1].tobytes(), 24, header=12)
    yield "24-odd-width", encoded(PICTURE.crop((0, 0, 77, 50)), "BMP")
    yield "1", encoded(GREY.convert("1"), "BMP")
    indexed = PICTURE.quantize(200)
    yield "8", encoded(indexed, "BMP")
    indices = np.asarray(indexed)[::-1]
    colours = np.frombuffer(bytes(indexed.getpalette() or []), np.uint8).reshape(-1, 3)
    palette = np.concatenate([colours[:, ::-1], np.zeros((len(colours), 1), np.uint8)], axis=1).tobytes()
    yield "8-few-colours", bmp(indices.tobytes(), 8, palette=palette)
    few = PICTURE.quantize(16)
    fours = np.asarray(few)[::-1]
    halves = (fours[:, ::2] << 4 | fours[:, 1::2]).astype(np.uint8)
    colours = np.frombuffer(bytes(few.getpalette() or []), np.uint8).reshape(-1, 3)
    sixteen = np.concatenate([colours[:, ::-1], np.zeros((len(colours), 1), np.uint8)], axis=1).tobytes()
    yield "4", bmp(halves.tobytes(), 4, palette=sixteen)
    yield "4-core", bmp(halves.tobytes(), 4, palette=colours[:, ::-1].tobytes(), header=12)
    eights = b"".join(b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in indices.tolist()) + b"\0\1"
    yield "rle8", bmp(eights, 8, compression=1, palette=palette)
    absolute = b"".join(b"\0" + bytes([WIDTH]) + row.tobytes() + b"\0\0" for row in indices) + b"\0\1"
    yield "rle8-absolute", bmp(absolute, 8, compression=1, palette=palette)
    runs = b"".join(b"".join(bytes([2, pair]) for pair in row) + b"\0\0" for row in halves.tolist()) + b"\0\1"
    yield "rle4", bmp(runs, 4, compression=2, palette=sixteen)
    skipping = b"".join(b"\x14" + row[:1].tobytes() + b"\0\0" for row in indices) + b"\0\1"
    yield "rle8-short-rows", bmp(skipping, 8, compression=1, palette=palette)
    five, six = (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)
    yield "16-555", bmp(packed(PICTURE, five, "<u2"), 16)
    yield "16-565", bmp(packed(PICTURE, six, "<u2"), 16, compression=3, masks=six)
    argb = (0x7C00, 0x3E0, 0x1F, 0x8000)
    yield "16-1555-v5", bmp(packed(with_alpha(PICTURE), argb, "<u2"), 16, compression=3, masks=argb, header=124)
    plain = (0xFF0000, 0xFF00, 0xFF)
    yield "32", bmp(packed(PICTURE, plain, "<u4"), 32)
    yield "32-alpha-bytes", bmp(packed(with_alpha(PICTURE), (*plain, 0xFF000000), "<u4"), 32)
    yield "32-masks", bmp(packed(PICTURE, plain[::-1], "<u4"), 32, compression=3, masks=plain[::-1])
    ten = (0x3FF00000, 0xFFC00, 0x3FF)
    yield "32-ten-bits", bmp(packed(PICTURE, ten, "<u4"), 32, compression=3, masks=ten)
    for header in (56, 108, 124):
        full = (*plain, 0xFF000000)
        yield (
            f"32-alpha-{header}",
            bmp(packed(with_alpha(PICTURE), full, "<u4"), 32, compression=3, masks=full, header=header),
        )
        yield f"32-alpha-0-{header}", bmp(packed(PICTURE, plain, "<u4"), 32, compression=3, masks=full, header=header)
    yield "32-rgb-alpha-108", bmp(packed(with_alpha(PICTURE), full, "<u4"), 32, masks=full, header=108)
    yield "24-long", bmp(flipped[::-1].tobytes(), 24, header=124)
    yield "last-padding-missing", encoded(PICTURE.crop((0, 0, 77, 50)), "BMP")[:-1]


# GIF, WebP, AVIF


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gifs() -> Iterator[tuple[str, bytes]]:
    plain = encoded(PICTURE.quantize(256), "GIF")
    yield "plain", plain
    yield "grey", encoded(GREY, "GIF")
    yield "interlaced", encoded(PICTURE.quantize(256), "GIF", interlace=True)
    yield "transparent", encoded(PICTURE.quantize(64), "GIF", transparency=5)
    red = Image.new("RGB", PICTURE.size, "red")
    yield "animated", encoded(PICTURE, "GIF", save_all=True, append_images=[red], duration=100_000)
    at = plain.index(b",\0\0\0\0")
    yield (
        "offset",
        plain[:6] + struct.pack("<HH", 120, 100) + plain[10 : at + 1] + struct.pack("<HH", 30, 20) + plain[at + 5 :],
    )
    yield "canvas-too-small", plain[:6] + struct.pack("<HH", 20, 10) + plain[10:]
    yield "comments", plain[:at] + b"!\xfe" + (b"\xff" + b"a" * 255) * 500 + b"\0" + plain[at:]


def webps() -> Iterator[tuple[str, bytes]]:
    plain = encoded(PICTURE, "WEBP", quality=95)
    yield "plain", plain
    yield "lossless", encoded(PICTURE, "WEBP", lossless=True)
    yield "alpha", encoded(with_alpha(PICTURE), "WEBP", quality=95)
    yield "alpha-lossless", encoded(with_alpha(PICTURE), "WEBP", lossless=True)
    red = Image.new("RGB", PICTURE.size, "red")
    yield "animated", encoded(PICTURE, "WEBP", quality=95, save_all=True, append_images=[red], duration=100_000)
    vp8 = plain[12:] if plain[12:16] == b"VP8 " else plain[30:]
    frame = b"".join(value.to_bytes(3, "little") for value in (15, 10, WIDTH - 1, HEIGHT - 1, 60_000)) + b"\0" + vp8
    canvas = b"\x02\0\0\0" + (119).to_bytes(3, "little") + (99).to_bytes(3, "little")
    yield "offset", riff((b"VP8X", canvas), (b"ANIM", b"\0\0\xff\xff\0\0"), (b"ANMF", frame), (b"ANMF", frame))
    yield "icc-gamma-1.0", encoded(PICTURE, "WEBP", quality=95, icc_profile=gamma_profile(1.0, "RGB"))


def avifs() -> Iterator[tuple[str, bytes]]:
    yield "plain", encoded(PICTURE, "AVIF", quality=95)
    yield "444", encoded(PICTURE, "AVIF", quality=95, subsampling="4:4:4")
    yield "grey", encoded(PICTURE, "AVIF", quality=95, subsampling="4:0:0")
    yield "limited", encoded(PICTURE, "AVIF", quality=95, range="limited")
    yield "alpha", encoded(with_alpha(PICTURE), "AVIF", quality=95)
    red = Image.new("RGB", PICTURE.size, "red")
    yield "animated", encoded(PICTURE, "AVIF", quality=95, save_all=True, append_images=[red], duration=100_000)
    yield "icc-gamma-1.0", encoded(PICTURE, "AVIF", quality=95, icc_profile=gamma_profile(1.0, "RGB"))


def orientations() -> Iterator[tuple[str, bytes]]:
    for orientation in range(1, 9):
        exif = oriented(orientation)
        yield f"jpeg-{orientation}", encoded(PICTURE, "JPEG", quality=95, exif=exif)
        yield f"png-{orientation}", with_chunks(encoded(PICTURE, "PNG"), chunk(b"eXIf", exif[6:]))
        yield f"webp-{orientation}", encoded(PICTURE, "WEBP", quality=95, exif=exif[6:])
        yield f"avif-{orientation}", encoded(PICTURE, "AVIF", quality=95, exif=exif)
    late = encoded(PICTURE, "PNG")
    yield "png-late-6", late[:-12] + chunk(b"eXIf", oriented(6)[6:]) + late[-12:]


def odd_files() -> dict[str, bytes]:
    groups: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
        "png": pngs, "jpeg": jpegs, "bmp": bmps, "gif": gifs, "webp": webps, "avif": avifs, "turned": orientations,
    }  # fmt: skip
    return {f"{group}-{name}": content for group, files in groups.items() for name, content in files()}
