"""From a decoder's picture to a grey one as a browser shows it, in strips: a copy in colour would cost 100 MB.

Alpha is laid on white, which is what viewers show behind a cut-out portrait. The colour under alpha 0 is arbitrary.
"""

from functools import lru_cache
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from faces.decode.header import Grey

Tone = NDArray[np.uint8]
"""[256]: for each grey level of a file the one that a screen (sRGB) shows."""

STRIP = 1 << 18
"""Pixels of a strip, about."""
_LONGEST_PROFILE = 1 << 18
"""Bytes of a colour profile; those of printers, which are longer, are not for pictures on a screen."""
_FAINT = 2
"""Levels by which a tone curve may differ from none and be left out."""


def flatten(image: Image.Image, scale: int = 1, tone: Tone | None = None) -> Grey:
    """Any picture of Pillow's as grey levels, at 1 / scale of its size."""
    width, height = image.size
    if image.mode == "L" and scale == 1 and tone is None and not image.has_transparency_data:
        return np.asarray(image)
    grey = np.empty((-(-height // scale), -(-width // scale)), np.uint8)
    rows = max(1, STRIP // width // scale) * scale
    for top in range(0, height, rows):
        strip = _flat(image.crop((0, top, width, min(top + rows, height))), tone)
        grey[top // scale : -(-(top + rows) // scale)] = shrink(strip, scale)
    return grey


def _flat(strip: Image.Image, tone: Tone | None) -> Grey:
    if strip.mode.startswith("I"):
        # 16 bits a pixel. Pillow's own conversion clips everything over 255 to white.
        levels = np.asarray(strip)
        clear = strip.info.get("transparency")
        return finish(
            (levels >> 8).astype(np.uint8), tone, None if clear is None else (levels != clear) * np.uint8(255)
        )
    if strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        return finish(np.asarray(rgba.convert("L")), tone, np.asarray(rgba.getchannel("A")))
    if strip.mode == "CMYK":
        strip = strip.convert("RGB")
    return finish(np.asarray(strip if strip.mode == "L" else strip.convert("L")), tone)


def finish(grey: Grey, tone: Tone | None = None, alpha: Grey | None = None) -> Grey:
    """Grey levels as a screen shows them, on white where alpha says so."""
    if tone is not None:
        grey = cv2.LUT(grey, tone)  # type: ignore[assignment]
    if alpha is None:
        return grey
    return np.asarray(
        Image.composite(Image.fromarray(grey), Image.new("L", grey.shape[::-1], 255), Image.fromarray(alpha))
    )


def shrink(grey: Grey, scale: int) -> Grey:
    """To 1 / scale of its size, each pixel the mean of those it stands for."""
    if scale == 1:
        return grey
    size = (-(-grey.shape[1] // scale), -(-grey.shape[0] // scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def place(frame: Grey, canvas: tuple[int, int], corner: tuple[int, int]) -> Grey:
    """A frame on a white canvas, width and height."""
    height, width = frame.shape
    if canvas == (width, height):
        return frame
    grey = np.full(canvas[::-1], 255, np.uint8)
    grey[corner[1] : corner[1] + height, corner[0] : corner[0] + width] = frame
    return grey


@lru_cache(maxsize=64)
def tone_of_profile(profile: bytes, grey: bool) -> Tone | None:
    """What an ICC profile makes of greys, None where that is as good as nothing.

    Browsers apply the whole profile to each pixel. Of that, its tone curve is what can be seen in a grey picture: the
    primaries of Display P3 or Adobe RGB move the luma of skin by a few levels.

    Args:
        grey: so is the picture; the profile may not be if it is not.
    """
    if len(profile) > _LONGEST_PROFILE:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = ({"RGB": "RGB"} | ({"GRAY": "L"} if grey else {}))[source.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(mode)
        shown = ImageCms.applyTransform(ramp, transform)
    except (KeyError, OSError, ValueError, ImageCms.PyCMSError):
        return None
    return None if shown is None else _visible(np.asarray(shown.convert("L"))[0])


@lru_cache(maxsize=64)
def tone_of_gamma(gamma: float) -> Tone | None:
    """The same of PNG's gAMA: the exponent that made the file's levels of light."""
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    # IEC 61966-2-1, sRGB.
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return _visible(np.round(255 * shown).astype(np.uint8))


def _visible(tone: Tone) -> Tone | None:
    return tone if np.abs(tone.astype(int) - np.arange(256)).max() > _FAINT else None
