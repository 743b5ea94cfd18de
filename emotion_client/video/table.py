"""A row a face."""

import csv
from collections.abc import Sequence
from typing import IO

from emotion_client.emotions import CLASSES
from emotion_client.video.answers import Prediction
from emotion_client.video.tracks import Track

COLUMNS = (
    *("time", "frame", "track", "x", "y", "width", "height"),
    *("emotion", "confidence", *CLASSES, "smoothed_emotion", "model", "version"),
)


class Table:
    """Writes CSV: `emotion` and the probabilities of this frame alone, and `smoothed_emotion` as the video shows it."""

    def __init__(self, file: IO[str]) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def add(self, time_s: float, frame: int, prediction: Prediction, tracks: Sequence[Track]) -> None:
        """The faces of a frame.

        Args:
            tracks: of the prediction's faces, in their order.
        """
        for face, track in zip(prediction.faces, tracks, strict=True):
            box = face.box
            self._rows.writerow(
                (
                    *(f"{time_s:.6f}", frame, track.number, box.x, box.y, box.width, box.height),
                    *(face.emotion, f"{face.confidence:.6f}"),
                    *(f"{face.probabilities.get(emotion, 0):.6f}" for emotion in CLASSES),
                    *(track.emotion, prediction.model.name, prediction.model.version),
                )
            )
