"""Random views of a face on a device: what `trainer.training.augment` does with OpenCV, for a whole batch at once.

Blur, small pictures and JPEG's transform are linear along each axis, so that each is a matrix M of 48x48 and a face F
becomes M F M'. Draws are the same in distribution, not one by one.
"""

import io
import math
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from faces.contract import SIDE
from trainer.training.augment import AugmentConfig

_SIGMAS = np.linspace(0.5, 2.2, 18)
_SMALL_SIDES = range(14, 33)
_QUALITIES = range(10, 61)


class Views:
    """One random view of each face of a batch.

    Everything is drawn from the device's default generator, so that a CUDA graph may record a call.

    Args:
        config: how far a view may be from its face; `mixup` is not this class's.
        side: of the views, 48 or less.
        device: where faces are.
    """

    def __init__(self, config: AugmentConfig, side: int, device: torch.device) -> None:
        self._config = config
        self._device = device

        def tensor(values: NDArray[Any]) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        self._pixels = torch.arange(SIDE, dtype=torch.float32, device=device)
        self._blurs = tensor(np.stack([_blur(sigma) for sigma in _SIGMAS]))
        self._resamples = tensor(np.stack([_resample(small) for small in _SMALL_SIDES]))
        self._cosines = tensor(_cosines())
        self._quantizers = tensor(np.stack([_quantizer(quality) for quality in _QUALITIES]))
        self._shrink = None if side == SIDE else tensor(_along(side, cv2.INTER_AREA))

    def __call__(self, faces: Tensor) -> Tensor:
        """Grey levels uint8 [B, 48, 48] -> grey levels float32 [B, side, side], whole numbers unless shrunk."""
        config = self._config
        views = self._levels(_whole(self._warp(faces.float())))
        if config.blur:
            views = self._with(config.blur, views, self._apart(self._blurs, views))
        if config.resample:
            views = self._with(config.resample, views, self._apart(self._resamples, views))
        if config.noise:
            sigmas = self._uniform(3, 15, len(views))[:, None, None]
            views = self._with(config.noise, views, views + sigmas * torch.randn_like(views))
        if config.jpeg:
            views = self._with(config.jpeg, views, self._compressed(views))
        if config.erase:
            views = self._erased(views)
        return views if self._shrink is None else self._shrink @ views @ self._shrink.T

    def _uniform(self, low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand(count, device=self._device)

    def _drawn(self, share: float, count: int) -> Tensor:
        return torch.rand(count, device=self._device) < share

    def _with(self, share: float, views: Tensor, disturbed: Tensor) -> Tensor:
        return torch.where(self._drawn(share, len(views))[:, None, None], _whole(disturbed), views)

    def _warp(self, faces: Tensor) -> Tensor:
        config, count = self._config, len(faces)
        angles = self._uniform(-config.rotation, config.rotation, count)
        if config.tilt:
            angles = torch.where(self._drawn(config.tilt, count), self._uniform(-60, 60, count), angles)
        scales = self._uniform(1 - config.zoom, 1 + config.zoom, count)
        right, down = (self._uniform(-config.shift, config.shift, count) for _ in range(2))
        if config.frame:
            misfit = self._drawn(config.frame, count)
            scales = torch.where(misfit, self._uniform(0.75, 1.3, count), scales)
            right, down = (torch.where(misfit, self._uniform(-6, 6, count), shift) for shift in (right, down))
        radians = angles * (math.pi / 180)
        cosines, sines = (torch.cos(radians) / scales)[:, None, None], (torch.sin(radians) / scales)[:, None, None]
        # From a pixel of the view back to where it comes from, both about the centre.
        middle = (SIDE - 1) / 2
        x = self._pixels[None, None, :] - middle - right[:, None, None]
        y = self._pixels[None, :, None] - middle - down[:, None, None]
        source_x, source_y = cosines * x - sines * y, sines * x + cosines * y
        mirrored = torch.where(self._drawn(config.flip, count), -1.0, 1.0)[:, None, None]
        grid = torch.stack([source_x * mirrored, source_y], dim=-1) / middle
        warped = functional.grid_sample(faces[:, None], grid, "bilinear", "border", align_corners=True)
        return warped[:, 0]

    def _levels(self, views: Tensor) -> Tensor:
        config, count = self._config, len(views)
        gains = self._uniform(1 - config.contrast, 1 + config.contrast, count)[:, None, None]
        offsets = self._uniform(-config.brightness, config.brightness, count)[:, None, None]
        views = ((views - 127.5) * gains + 127.5 + offsets).clamp(0, 255)
        if config.gamma:
            logs = torch.where(self._drawn(config.gamma, count), self._uniform(-1, 1, count), 0.0)
            views = 255 * (views / 255) ** torch.exp2(logs)[:, None, None]
        if config.dim:
            shares = torch.where(self._drawn(config.dim, count), self._uniform(0.2, 0.8, count), 1.0)
            views = views * shares[:, None, None]
        return views.floor()

    def _apart(self, matrices: Tensor, views: Tensor) -> Tensor:
        chosen = matrices[torch.randint(len(matrices), (len(views),), device=self._device)]
        return chosen @ views @ chosen.mT

    def _compressed(self, views: Tensor) -> Tensor:
        steps = self._quantizers[torch.randint(len(self._quantizers), (len(views),), device=self._device)]
        cosines = self._cosines
        coefficients = torch.round(cosines @ (views - 128) @ cosines.T / steps) * steps
        return cosines.T @ coefficients @ cosines + 128

    def _erased(self, views: Tensor) -> Tensor:
        # As `augment` draws it.
        count = len(views)
        area = self._uniform(0.02, 0.2, count) * SIDE**2
        aspect = torch.exp(self._uniform(math.log(0.3), math.log(3.3), count))
        rows = (area * aspect).sqrt().round().clamp(1, SIDE)
        columns = (area / aspect).sqrt().round().clamp(1, SIDE)
        top = (torch.rand(count, device=self._device) * (SIDE - rows + 1)).floor()
        left = (torch.rand(count, device=self._device) * (SIDE - columns + 1)).floor()

        def within(first: Tensor, length: Tensor) -> Tensor:
            return (self._pixels >= first[:, None]) & (self._pixels < (first + length)[:, None])

        hidden = within(top, rows)[:, :, None] & within(left, columns)[:, None, :]
        hidden &= self._drawn(self._config.erase, count)[:, None, None]
        return torch.where(hidden, torch.randint_like(views, 256), views)


def _whole(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255)


def _along(rows: int, interpolation: int) -> NDArray[np.float32]:
    """The matrix [rows, 48] of OpenCV's resizing along one axis."""
    return cv2.resize(np.eye(SIDE, dtype=np.float32), (SIDE, rows), interpolation=interpolation)  # type: ignore[return-value]


def _blur(sigma: float) -> NDArray[np.float32]:
    # As many taps as OpenCV takes for 8-bit pictures.
    taps = round(sigma * 6 + 1) | 1
    return cv2.GaussianBlur(  # type: ignore[return-value]
        np.eye(SIDE, dtype=np.float32), (1, taps), sigmaX=1, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE
    )


def _resample(small: int) -> NDArray[np.float32]:
    down = _along(small, cv2.INTER_AREA)
    return cv2.resize(down, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _cosines() -> NDArray[np.float64]:
    """The discrete cosine transform of each 8 pixels of 48 (ITU-T T.81, A.3.3)."""
    frequency, pixel = np.arange(8)[:, None], np.arange(8)[None, :]
    block = np.cos((2 * pixel + 1) * frequency * math.pi / 16) / 2
    block[0] /= math.sqrt(2)
    return np.kron(np.eye(SIDE // 8), block).astype(np.float64)


@cache
def _quantizer(quality: int) -> NDArray[np.float64]:
    """The steps [48, 48] to which the coefficients of all blocks are rounded at a JPEG quality, as libjpeg has them."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    # Declared for any image file, and only JPEG's has tables.
    table = Image.open(file).quantization[0]  # type: ignore[attr-defined]
    return np.tile(np.array(table, np.float64).reshape(8, 8), (SIDE // 8, SIDE // 8))
