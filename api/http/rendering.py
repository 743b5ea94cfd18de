"""Results as the public JSON."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from api.http.schemas import BoxOut, FaceOut, ImageOut, ModelOut, Timing
from api.predictor import Answer, ImageResult
from faces.detect import Box


def model_out(answer: Answer) -> ModelOut:
    return ModelOut(name=answer.target.model, version=answer.prediction.version, label=answer.target.label)


def image_out(result: ImageResult) -> ImageOut:
    return ImageOut(width=result.found.width, height=result.found.height)


def faces_out(result: ImageResult, classes: Sequence[str]) -> list[FaceOut]:
    return [_face(box, classes, row) for box, row in zip(result.found.boxes, result.probabilities, strict=True)]


def timing_out(stages_ms: Mapping[str, float], total_s: float) -> Timing:
    rounded = {stage: round(milliseconds, 2) for stage, milliseconds in stages_ms.items()}
    return Timing(total=round(total_s * 1000, 2), **rounded)


def _face(box: Box, classes: Sequence[str], row: NDArray[np.float32]) -> FaceOut:
    # float32 holds about seven digits; more would only show its rounding.
    probabilities = {name: round(float(value), 6) for name, value in zip(classes, row, strict=True)}
    emotion = classes[int(row.argmax())]
    return FaceOut(
        box=BoxOut(x=box.x, y=box.y, width=box.width, height=box.height),
        emotion=emotion,
        confidence=probabilities[emotion],
        probabilities=probabilities,
    )
