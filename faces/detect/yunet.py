"""YuNet (Wu, Peng & Yu 2023), by OpenCV's FaceDetectorYN."""

import hashlib
import threading
from pathlib import Path

import cv2
import numpy as np

from faces.decode import Grey
from faces.detect import SEEN_SIDE, SIDE_MAX, STANDARD_SIDE, Detection, Search, shrink, sort_out
from faces.detect.onet import ONet
from faces.errors import ModelFileError
from faces.geometry import Box, Square

SHA256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
"""Of face_detection_yunet_2026may.onnx in OpenCV Zoo (MIT), the file that all figures here were measured with."""

_SURE = 0.7
"""Score from which a find is a face."""
_DOUBTFUL = 0.3
"""Score from which a find is one if MTCNN's third network says so, too: most heads that lean, or that are small."""
_CONFIRMED = 0.6
"""Probability that this takes."""
_OVERLAP = 0.3
_FRAME = 0.975
"""FER2013's frame is a square on the box's centre with this share of its height: the median over 2,270 faces."""
_FEWEST = 64
"""Pixels a side that the network gets at least: of pictures up to 32 high OpenCV 4.14 reads faces that are not in it,
but in memory that nobody has written."""


class YuNet:
    """Sees faces of about 10 to 300 pixels in the picture that it searches, on grey copied to three channels.

    Args:
        file: the ONNX file.
        side: longer side of the picture searched, pixels.
        side_max: the same where `min_face` asks for more.
        sha256: hex digest that the file must have.

    Raises:
        ModelFileError: the file is missing, or another one.
    """

    name = "yunet"

    def __init__(
        self, file: Path, *, side: int = STANDARD_SIDE, side_max: int = SIDE_MAX, sha256: str = SHA256
    ) -> None:
        try:
            self._model = np.frombuffer(file.read_bytes(), np.uint8)
        except OSError as error:
            raise ModelFileError(f"{file}: {error.strerror}") from error
        found = hashlib.sha256(self._model.data).hexdigest()
        if found != sha256:
            raise ModelFileError(f"{file}: its SHA-256 is {found}, not {sha256}")
        self._side, self._side_max = side, side_max
        # A network holds the blobs of the call in progress.
        self._local = threading.local()
        self._onet = ONet()

    def detect(self, grey: Grey, min_face: int | None = None) -> Search:
        small, scale = shrink(grey, self._side, min_face, self._side_max)
        faces = self._faces(grey, small, scale)
        if not faces and max(small.shape) > self._side // 2:
            # A face that fills the picture is too large for the network; at half the side it is not.
            half, half_scale = shrink(grey, self._side // 2, None, self._side_max)
            faces = self._faces(grey, half, half_scale)
        return sort_out(faces, self.name, small, round(SEEN_SIDE / scale), min_face)

    def _faces(self, grey: Grey, small: Grey, scale: float) -> list[Detection]:
        return self._onet.confirm(grey, self._search(small, scale), sure=_SURE, confirmed=_CONFIRMED)

    def _search(self, small: Grey, scale: float) -> list[Detection]:
        short = [max(0, _FEWEST - side) for side in small.shape]
        if any(short):
            small = np.asarray(cv2.copyMakeBorder(small, 0, short[0], 0, short[1], cv2.BORDER_REPLICATE), np.uint8)
        height, width = small.shape
        network = self._network()
        network.setInputSize((width, height))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR))
        return [] if rows is None else [_detection(row, scale) for row in rows]

    def _network(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._local, "network"):
            self._local.network = cv2.FaceDetectorYN.create(
                "onnx", self._model, np.empty(0, np.uint8), (320, 320), _DOUBTFUL, _OVERLAP, 5000
            )
        network: cv2.FaceDetectorYN = self._local.network
        return network


def _detection(row: "np.ndarray[tuple[int], np.dtype[np.float32]]", scale: float) -> Detection:
    # x, y, width, height, five landmarks, score
    x, y, width, height = (float(value) / scale for value in row[:4])
    left, top = round(x), round(y)
    box = Box(left, top, max(1, round(x + width) - left), max(1, round(y + height) - top))
    return Detection(box, float(row[14]), Square(x + width / 2, y + height / 2, _FRAME * height))
