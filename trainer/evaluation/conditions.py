"""Faces as cameras give them: one clean picture and twenty disturbed ones of each face.

Each is done to the 48x48 grey pixels, and what leaves or enters the frame repeats its border. Detectors' boxes that fit
badly, heads that lean, small faces enlarged, defocus, dark rooms and strong compression are what they stand for.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Disturb = Callable[[Image], Image]

CLEAN = "as is"


def disturbed(images: Image, tell: Callable[[str], None] = lambda _: None) -> Iterator[tuple[str, Image]]:
    """Each condition's name with the images in it, uint8 [N, H, W] each, clean ones first; tells the name before."""
    for name, disturb in CONDITIONS.items():
        tell(name)
        yield name, np.stack([disturb(image) for image in images])


def _warped(angle: float = 0, scale: float = 1, right: float = 0, down: float = 0) -> Disturb:
    def warp(image: Image) -> Image:
        height, width = image.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
        matrix[:, 2] += np.array([right, down])
        return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]

    return warp


def _blurred(sigma: float) -> Disturb:
    return lambda image: cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _darkened(share: float) -> Disturb:
    return lambda image: (image * share).astype(np.uint8)


def _small(side: int) -> Disturb:
    def shrink(image: Image) -> Image:
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    return shrink


def _compressed(quality: int) -> Disturb:
    def compress(image: Image) -> Image:
        _, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
        return cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)  # type: ignore[return-value]

    return compress


CONDITIONS: dict[str, Disturb] = {
    CLEAN: lambda image: image,
    **{f"turned by {angle} degrees": _warped(angle=angle) for angle in (10, 20, 30, 45, 60)},
    **{f"scaled by {scale:g}": _warped(scale=scale) for scale in (0.75, 0.85, 1.15, 1.3)},
    **{f"{pixels} pixels to the right": _warped(right=pixels) for pixels in (3, 6)},
    **{f"{pixels} pixels down": _warped(down=pixels) for pixels in (3, 6)},
    **{f"blurred, sigma {sigma}": _blurred(sigma) for sigma in (1, 2)},
    **{f"brightness x {share:g}": _darkened(share) for share in (0.5, 0.25)},
    **{f"seen at {side} pixels": _small(side) for side in (24, 16)},
    "JPEG quality 20": _compressed(20),
}
"""Each condition by name."""
