"""Random views of a face, drawn anew each time it is seen. OpenCV on uint8: tens of microseconds an image."""

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

# OpenCV's own threads cost more than a 48x48 warp takes, and they compete with the training step for the cores.
cv2.setNumThreads(1)

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentConfig(BaseModel):
    """How far a face may be moved from the original. All draws are uniform and independent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: Probability = 0.5
    """Probability of a left-right mirror."""
    rotation: float = Field(default=12.0, ge=0, le=180)
    """Largest rotation either way, degrees."""
    zoom: float = Field(default=0.13, ge=0, lt=1)
    """Scale is drawn from [1 - zoom, 1 + zoom]."""
    shift: float = Field(default=4.0, ge=0)
    """Largest translation along each axis, pixels."""
    contrast: float = Field(default=0.2, ge=0, lt=1)
    """Contrast factor is drawn from [1 - contrast, 1 + contrast], about mid-grey."""
    brightness: float = Field(default=20.0, ge=0, le=255)
    """Largest offset either way, grey levels."""
    erase: Probability = 0.3
    """Probability that a rectangle is replaced by noise (random erasing, Zhong et al. 2017)."""


def augment(images: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One random view of each image: uint8 [N, H, W] -> uint8 [N, H, W]. The input is left as it is."""
    count, height, width = images.shape
    out = np.empty_like(images)
    flips = rng.random((count,)) < config.flip
    angles = rng.uniform(-config.rotation, config.rotation, (count,))
    scales = rng.uniform(1 - config.zoom, 1 + config.zoom, (count,))
    shifts = rng.uniform(-config.shift, config.shift, (count, 2))
    gains = rng.uniform(1 - config.contrast, 1 + config.contrast, (count,))
    offsets = rng.uniform(-config.brightness, config.brightness, (count,))
    center = ((width - 1) / 2, (height - 1) / 2)
    for i in range(count):
        matrix = cv2.getRotationMatrix2D(center, angles[i], scales[i])
        matrix[:, 2] += shifts[i]
        if flips[i]:
            # Mirroring the source x axis inside the same warp costs nothing: x -> (width - 1) - x.
            matrix[:, 2] += matrix[:, 0] * (width - 1)
            matrix[:, 0] *= -1
        cv2.warpAffine(
            images[i], matrix, (width, height), dst=out[i], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        table = np.clip((np.arange(256) - 127.5) * gains[i] + 127.5 + offsets[i], 0, 255).astype(np.uint8)
        cv2.LUT(out[i], table, dst=out[i])
    for index in np.flatnonzero(rng.random((count,)) < config.erase):
        _erase(out[index], rng)
    return out


def _erase(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = image.shape
    # The paper's ranges: area 2 % to 40 %, aspect 0.3 to 3.3. Half that area here: at 48 pixels more hides the face.
    area = rng.uniform(0.02, 0.2) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    rows = min(height, max(1, round(float(np.sqrt(area * aspect)))))
    columns = min(width, max(1, round(float(np.sqrt(area / aspect)))))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    image[top : top + rows, left : left + columns] = rng.integers(0, 256, (rows, columns), np.uint8)
