"""Random views of a face, drawn anew each time it is seen. OpenCV on uint8: some ten microseconds an image."""

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

    # Probability of a left-right mirror.
    flip: Probability = 0.5
    # Largest rotation either way, degrees.
    rotation: float = Field(default=12.0, ge=0, le=180)
    # Scale is drawn from [1 - zoom, 1 + zoom].
    zoom: float = Field(default=0.13, ge=0, lt=1)
    # Largest translation along each axis, pixels.
    shift: float = Field(default=4.0, ge=0)
    # Contrast factor is drawn from [1 - contrast, 1 + contrast], about mid-grey.
    contrast: float = Field(default=0.2, ge=0, lt=1)
    # Largest offset either way, grey levels.
    brightness: float = Field(default=20.0, ge=0, le=255)
    # Probability that a rectangle is replaced by noise (random erasing, Zhong et al. 2017).
    erase: Probability = 0.3
    # Probability that the rotation is drawn from as far as 60 degrees either way, as heads lean.
    tilt: Probability = 0.0
    # Probability that scale and shift are those of a detector's box that fits badly: 0.75 to 1.3, up to 6 pixels.
    frame: Probability = 0.0
    # Probability of a Gaussian blur, sigma 0.5 to 2.2 pixels.
    blur: Probability = 0.0
    # Probability that the face is reduced to a side of 14 to 32 pixels and enlarged again, as small faces are.
    resample: Probability = 0.0
    # Probability of JPEG compression, quality 10 to 60.
    jpeg: Probability = 0.0
    # Probability of a gamma curve, exponent 0.5 to 2.
    gamma: Probability = 0.0
    # Probability that the grey levels are multiplied by 0.2 to 0.8, as in the dark.
    dim: Probability = 0.0
    # Probability of a sensor's noise, sigma 3 to 15 grey levels.
    noise: Probability = 0.0
    # Each face is blended with another by a share drawn from Beta(mixup, mixup) (Zhang et al. 2018); 0: not at all.
    mixup: float = Field(default=0.0, ge=0)


def augment(images: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One random view of each image: uint8 [N, H, W] -> uint8 [N, H, W]. The input is left as it is."""
    count, height, width = images.shape
    out = np.empty_like(images)
    flips = rng.random((count,)) < config.flip
    angles = rng.uniform(-config.rotation, config.rotation, (count,))
    scales = rng.uniform(1 - config.zoom, 1 + config.zoom, (count,))
    shifts = rng.uniform(-config.shift, config.shift, (count, 2))
    if config.tilt:
        tilted = rng.random((count,)) < config.tilt
        angles = np.where(tilted, rng.uniform(-60, 60, (count,)), angles)
    if config.frame:
        misfit = rng.random((count,)) < config.frame
        scales = np.where(misfit, rng.uniform(0.75, 1.3, (count,)), scales)
        shifts = np.where(misfit[:, None], rng.uniform(-6, 6, (count, 2)), shifts)
    gains = rng.uniform(1 - config.contrast, 1 + config.contrast, (count,))
    offsets = rng.uniform(-config.brightness, config.brightness, (count,))
    matrices = _warps(height, width, flips, angles, scales, shifts)
    levels = np.clip((np.arange(256) - 127.5) * gains[:, None] + 127.5 + offsets[:, None], 0, 255)
    if config.gamma:
        exponents = np.exp2(np.where(rng.random((count,)) < config.gamma, rng.uniform(-1, 1, (count,)), 0))
        levels = 255 * (levels / 255) ** exponents[:, None]
    if config.dim:
        levels *= np.where(rng.random((count,)) < config.dim, rng.uniform(0.2, 0.8, (count,)), 1)[:, None]
    tables = levels.astype(np.uint8)
    for i in range(count):
        cv2.warpAffine(
            images[i], matrices[i], (width, height), dst=out[i], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.LUT(out[i], tables[i], dst=out[i])
    for share, disturb in (
        (config.blur, _blur),
        (config.resample, _resample),
        (config.noise, _noise),
        (config.jpeg, _jpeg),
    ):
        # In the order in which a camera does them: the lens, the sensor's pixels and their noise, the file.
        if share:
            for index in np.flatnonzero(rng.random((count,)) < share):
                out[index] = disturb(out[index], rng)
    for index in np.flatnonzero(rng.random((count,)) < config.erase):
        _erase(out[index], rng)
    return out


def shrink(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """uint8 [N, H, W] -> uint8 [N, side, side], each pixel the mean of those that it covers."""
    if images.shape[1:] == (side, side):
        return images
    out = np.empty((len(images), side, side), np.uint8)
    for image, small in zip(images, out, strict=True):
        cv2.resize(image, (side, side), dst=small, interpolation=cv2.INTER_AREA)
    return out


def mix(
    faces: NDArray[np.float32], targets: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mixup (Zhang et al. 2018, equation 1): each face and its target blended with the next one of the batch.

    Args:
        faces: [B, H, W, 1], in random order: the next one is any other.
        targets: [B, K].
        alpha: both parameters of the Beta distribution that each face's share is drawn from; above 0.
    """
    share = rng.beta(alpha, alpha, len(faces)).astype(np.float32)
    first, second = share[:, None], 1 - share[:, None]
    mixed = first[..., None, None] * faces + second[..., None, None] * np.roll(faces, 1, axis=0)
    return mixed, first * targets + second * np.roll(targets, 1, axis=0)


def _warps(
    height: int,
    width: int,
    flips: NDArray[np.bool_],
    angles: NDArray[np.float64],
    scales: NDArray[np.float64],
    shifts: NDArray[np.float64],
) -> NDArray[np.float64]:
    # cv2.getRotationMatrix2D about the centre, for all faces at once: [N, 2, 3].
    x, y = (width - 1) / 2, (height - 1) / 2
    cosine, sine = scales * np.cos(np.deg2rad(angles)), scales * np.sin(np.deg2rad(angles))
    matrices = np.empty((len(angles), 2, 3))
    matrices[:, 0] = np.stack([cosine, sine, (1 - cosine) * x - sine * y + shifts[:, 0]], axis=1)
    matrices[:, 1] = np.stack([-sine, cosine, sine * x + (1 - cosine) * y + shifts[:, 1]], axis=1)
    # Mirroring the source x axis inside the same warp costs nothing: x -> (width - 1) - x.
    matrices[flips, :, 2] += matrices[flips, :, 0] * (width - 1)
    matrices[flips, :, 0] *= -1
    return matrices


def _blur(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.2), borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _resample(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image.shape
    share = rng.uniform(14, 32) / width
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _noise(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    noisy = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(3, 15))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    _, file = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 61))))
    return cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)  # type: ignore[return-value]


def _erase(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = image.shape
    # The paper's ranges: area 2 % to 40 %, aspect 0.3 to 3.3. Half that area here: at 48 pixels more hides the face.
    area = rng.uniform(0.02, 0.2) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    rows = min(height, max(1, round(float(np.sqrt(area * aspect)))))
    columns = min(width, max(1, round(float(np.sqrt(area / aspect)))))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    image[top : top + rows, left : left + columns] = rng.integers(0, 256, (rows, columns), np.uint8)
