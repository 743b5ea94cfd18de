"""A prediction as the public JSON."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

from api.http.schemas import BoxOut, FaceOut, ImageOut, ModelOut, Timing
from api.predictor import Prediction


def answer_out(prediction: Prediction, start: float) -> dict[str, Any]:
    """What an answer has whatever the number of its photos.

    Args:
        start: of the request, as time.perf_counter() gave it.
    """
    assignment, target = prediction.assignment, prediction.target
    times_ms = {**prediction.stages_ms, "total": (perf_counter() - start) * 1000}
    return {
        "id": prediction.id,
        "experiment": assignment.experiment.name if assignment else None,
        "variant": assignment.variant.name if assignment else None,
        "fallback": prediction.fallback,
        "model": ModelOut(name=target.model, version=prediction.scores.version, label=target.label),
        "timing_ms": Timing(**{stage: round(milliseconds, 2) for stage, milliseconds in times_ms.items()}),
    }


def photos_out(prediction: Prediction) -> Iterator[dict[str, Any]]:
    """For each photo its size and its faces; nothing for one that could not be read."""
    scores = prediction.scores
    rows = zip(scores.likeliest.tolist(), scores.probabilities.tolist(), strict=True)
    for photo in prediction.photos:
        if isinstance(photo, Exception):
            yield {}
            continue
        faces = []
        for box, (likeliest, row) in zip(photo.boxes, rows, strict=False):
            # float32 holds about seven digits; more would only show its rounding.
            probabilities = {name: round(value, 6) for name, value in zip(scores.classes, row, strict=True)}
            emotion = scores.classes[likeliest]
            faces.append(
                FaceOut(
                    box=BoxOut(x=box.x, y=box.y, width=box.width, height=box.height),
                    emotion=emotion,
                    confidence=probabilities[emotion],
                    probabilities=probabilities,
                )
            )
        yield {"image": ImageOut(width=photo.width, height=photo.height), "faces": faces}
