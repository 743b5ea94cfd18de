"""A client of the service, and the command `emotion`.

client    Client and AsyncClient: one call an endpoint
requests  what is sent, for both of them
answers   what comes back, as pydantic models
errors    what can go wrong, as exceptions
retry     what is tried again, and for how long
stream    frames of a camera in, results out
emotions  the classes: their names, and their colours
cli       the command `emotion`
video     videos, frame by frame
compare   two models on the same photos
"""

from emotion_client.answers import (
    Box,
    Dropped,
    Explanation,
    Face,
    Health,
    ModelVersions,
    Prediction,
    StreamFace,
    StreamResult,
)
from emotion_client.client import AsyncClient, Client
from emotion_client.errors import (
    BadImage,
    EmotionError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Problem,
    RateLimited,
    TooLate,
    Unavailable,
    Unreachable,
)

__all__ = [
    "AsyncClient",
    "BadImage",
    "Box",
    "Client",
    "Dropped",
    "EmotionError",
    "Explanation",
    "Face",
    "Health",
    "InvalidRequest",
    "ModelVersions",
    "NotAllowed",
    "NotFound",
    "Prediction",
    "Problem",
    "RateLimited",
    "StreamFace",
    "StreamResult",
    "TooLate",
    "Unavailable",
    "Unreachable",
]
