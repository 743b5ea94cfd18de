"""Heat maps, laid back over the faces that they are of."""

from dataclasses import dataclass
from math import ceil, cos, floor, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.contract import SIDE
from faces.geometry import Box, Square

_TILE_SIDE = 192
"""Pixels of a tile at most: a heat map has no more to show."""
_OPACITY = 0.7


@dataclass(frozen=True, slots=True)
class Tile:
    """A piece to lay over a photo."""

    # In pixels of the photo; it may pass the edges.
    box: Box
    # RGBA, of any size.
    picture: Image.Image


def heat_tile(heat: NDArray[np.float32], square: Square | None, box: Box) -> Tile:
    """A heat map upright in the photo: along the crop, also where that was turned.

    Args:
        heat: [48, 48] in [0, 1].
        square: what the network read; None: the whole box, stretched.
    """
    if square is None:
        return Tile(box, _coloured(cv2.resize(heat, (_TILE_SIDE, _TILE_SIDE), interpolation=cv2.INTER_CUBIC)))
    turn = radians(square.roll)
    half = square.side / 2 * (abs(cos(turn)) + abs(sin(turn)))
    left, top = floor(square.x - half), floor(square.y - half)
    width, height = ceil(square.x + half) - left, ceil(square.y + half) - top
    # Pixels of the tile for one of the photo, and for one of the heat map.
    fine = min(1.0, _TILE_SIDE / max(width, height))
    step = fine * square.side / SIDE
    matrix = np.array(
        [
            [step * cos(turn), -step * sin(turn), (square.x - left) * fine],
            [step * sin(turn), step * cos(turn), (square.y - top) * fine],
        ]
    )
    middle = (SIDE - 1) / 2
    matrix[:, 2] -= matrix[:, :2] @ (middle, middle)
    size = (max(1, round(width * fine)), max(1, round(height * fine)))
    return Tile(Box(left, top, width, height), _coloured(cv2.warpAffine(heat, matrix, size, flags=cv2.INTER_CUBIC)))


def _coloured(heat: NDArray[np.generic]) -> Image.Image:
    """RGBA: the hotter, the brighter and the less transparent."""
    levels = (np.clip(heat, 0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    alpha = (levels * _OPACITY).astype(np.uint8)
    return Image.fromarray(np.dstack([colours, alpha]), "RGBA")


def lay_over(picture: Image.Image, tile: Tile, width: int) -> None:
    """Draw a tile on a picture of the photo.

    Args:
        width: of the photo, pixels; the picture may be smaller.
    """
    scale = picture.width / width
    size = (max(1, round(tile.box.width * scale)), max(1, round(tile.box.height * scale)))
    large = tile.picture.resize(size, Image.Resampling.BILINEAR)
    picture.paste(large, (round(tile.box.x * scale), round(tile.box.y * scale)), large)
