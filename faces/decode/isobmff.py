"""AVIF, and HEIC where the extra `heic` is installed: a still picture of a video codec (ISO 23008-12)."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from io import BytesIO

from PIL import AvifImagePlugin, Image

from faces.decode.header import Grey, Header, read_orientation
from faces.decode.pixels import flatten, tone_of_profile
from faces.errors import UnsupportedFormat

# One thread for each photo, as everywhere.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_AVIF, _HEIC = {b"avif", b"avis"}, {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"}

HEIC = find_spec("pillow_heif") is not None
if HEIC:
    import pillow_heif

    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def reader(content: bytes) -> Callable[[bytes], Header] | None:
    """How to read a file of such boxes, None if that is not to be had: most of them are videos.

    Raises:
        UnsupportedFormat: HEIC, and the extra is not installed.
    """
    size = min(int.from_bytes(content[:4], "big"), 256)
    # The box `ftyp`: the brand, its version, and other brands that it is too.
    brands = {content[at : at + 4] for at in (8, *range(16, size, 4))}
    if brands & _AVIF:
        return partial(_read, plugin="AVIF", name="AVIF", planes=_planes(content), ns_a_byte=200)
    if not brands & _HEIC:
        return None
    if not HEIC:
        raise UnsupportedFormat(
            "The content is HEIC, which this installation does not read (pip install 'emotion-serving[heic]'); "
            "send it as JPEG."
        )
    return partial(_read, plugin="HEIF", name="HEIC", planes=1, ns_a_byte=350)


def _read(content: bytes, *, plugin: str, name: str, planes: float, ns_a_byte: float) -> Header:
    with Image.open(BytesIO(content), formats=(plugin,)) as image:
        profile, alpha = image.info.get("icc_profile"), image.mode == "RGBA"
        return Header(
            f"{name} with alpha" if alpha else name,
            *image.size,
            partial(_load, content, plugin, profile),
            # Planes, what the plugin makes of them, and Pillow's copy of that.
            held=planes + (9.9 if alpha else 7.8),
            scaled=0,
            ns_a_pixel=4.4 if alpha else 3.2,
            ns_a_byte=ns_a_byte,
            orientation=read_orientation(image.info.get("exif") or b""),
        )


def _planes(content: bytes) -> float:
    """Bytes a pixel of luma and chroma (AV1-ISOBMFF, 2.3.3: the box av1C)."""
    at = content.find(b"av1C")
    flags = content[at + 6] if at >= 0 else 0x40
    deep, grey, halves = flags >> 6 & 1, flags >> 4 & 1, (flags >> 3 & 1) + (flags >> 2 & 1)
    return (1 + (0 if grey else 2 / 2**halves)) * (1 + deep)


def _load(content: bytes, plugin: str, profile: bytes | None, scale: int) -> Grey:
    with Image.open(BytesIO(content), formats=(plugin,)) as image:
        image.load()
        # What the plugin made is Pillow's own by now.
        image.fp = None
        return flatten(image, scale, tone_of_profile(profile, grey=False) if profile else None)
