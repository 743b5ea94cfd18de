"""A prediction as a picture."""

import numpy as np
from fastapi import Response
from numpy.typing import NDArray
from starlette.background import BackgroundTasks

from api.pictures.annotate import Language, Marked, annotate
from api.pictures.colour import MediaType, read_colour, write
from api.pictures.heat import heat_tile, lay_over
from api.predictor import Prediction, Predictor
from faces.finder import FoundFaces

_DRAWING = 6.0
"""Decoding in colour, drawing and encoding, in times of what decoding in grey takes."""


async def annotated(
    predictor: Predictor,
    image: bytes,
    prediction: Prediction,
    media_type: MediaType,
    language: Language,
    caller: str,
    background: BackgroundTasks,
    heat: NDArray[np.float32] | None = None,
) -> Response:
    """The answer to one photo as the photo, annotated.

    Args:
        heat: [N, 48, 48], of its faces; laid over them.
        background: what is to be done once it is sent.

    Raises:
        Overloaded: it would have to wait too long for a thread.
    """
    [photo] = prediction.photos
    assert isinstance(photo, FoundFaces)
    scores, limits = prediction.scores, predictor.finder
    marked = [
        Marked(face.box, scores.classes[best], float(row[best]))
        for face, best, row in zip(photo.faces, scores.likeliest, scores.probabilities, strict=True)
    ]

    def draw(content: bytes) -> bytes:
        size = (photo.width, photo.height)
        picture = read_colour(content, size, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
        if heat is not None:
            for face, values in zip(photo.faces, heat, strict=True):
                lay_over(picture, heat_tile(values, face.square, face.box), photo.width)
        annotate(picture, marked, photo.width, language)
        return write(picture, media_type)

    drawn = await predictor.pool.run(draw, image, cost=_DRAWING * photo.decode_ms / 1000, caller=caller)
    return Response(
        drawn, media_type=media_type, headers={"Vary": "Accept", **_headers(prediction)}, background=background
    )


def _headers(prediction: Prediction) -> dict[str, str]:
    """What a picture cannot say, and feedback needs."""
    target = prediction.target
    return {"X-Prediction-ID": prediction.id, "X-Model": f"{target.model}/{prediction.scores.version}"}
