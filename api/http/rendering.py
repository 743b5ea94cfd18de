"""A prediction as the public JSON."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

from api.http.schemas import BoxOut, DetectionOut, FaceOut, ImageOut, Landmarks, ModelOut, Point, Timing
from api.predictor import Prediction
from faces.detect.onet import Points


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
    unclear = [None] * len(scores.likeliest) if scores.unclear is None else scores.unclear.tolist()
    rows = zip(scores.likeliest.tolist(), scores.probabilities.tolist(), unclear, strict=True)
    for photo in prediction.photos:
        if isinstance(photo, Exception):
            yield {}
            continue
        faces = []
        for face, (likeliest, row, face_unclear) in zip(photo.faces, rows, strict=False):
            # float32 holds about seven digits; more would only show its rounding.
            probabilities = {name: round(value, 6) for name, value in zip(scores.classes, row, strict=True)}
            emotion = scores.classes[likeliest]
            faces.append(
                FaceOut(
                    box=BoxOut(x=face.box.x, y=face.box.y, width=face.box.width, height=face.box.height),
                    score=None if face.score is None else round(face.score, 4),
                    roll=None if face.roll is None else round(face.roll, 1),
                    landmarks=None if face.landmarks is None else _landmarks_out(face.landmarks),
                    emotion=emotion,
                    confidence=probabilities[emotion],
                    unclear=face_unclear,
                    probabilities=probabilities,
                )
            )
        search = photo.search
        yield {
            "image": ImageOut(width=photo.width, height=photo.height),
            "detection": search and DetectionOut(detector=search.detector, side=search.side, min_face=search.min_face),
            "faces": faces,
        }


def _landmarks_out(points: Points) -> Landmarks:
    return Landmarks(
        **{
            name: Point(x=round(x, 1), y=round(y, 1))
            for name, (x, y) in zip(Landmarks.model_fields, points.tolist(), strict=True)
        }
    )
