"""What comes back. Members that a newer service adds are passed over; docs/api.md says what each one means."""

from typing import Any

from pydantic import BaseModel, Field


class Box(BaseModel):
    """Pixels of the upright photo; (x, y) is the top left corner."""

    x: int
    y: int
    width: int
    height: int


class Face(BaseModel):
    box: Box
    # The detector's confidence, and degrees that the head leans to the right; None where it does not tell.
    score: float | None = None
    roll: float | None = None
    emotion: str
    confidence: float
    # Whether `emotion` is not to be relied on; None where the version does not say.
    unclear: bool | None = None
    probabilities: dict[str, float]


class Model(BaseModel):
    name: str
    version: int
    label: str | None = None


class Size(BaseModel):
    """Pixels."""

    width: int
    height: int


class Prediction(BaseModel):
    """The faces of a photo, largest first."""

    id: str
    experiment: str | None = None
    variant: str | None = None
    fallback: bool = False
    model: Model
    image: Size
    faces: list[Face]
    timing_ms: dict[str, float] = Field(default_factory=dict)


class ExplainedFace(Face):
    # base64 of a PNG, and where it lies on the photo.
    heatmap: str
    heatmap_box: Box


class Explanation(BaseModel):
    model: Model
    image: Size
    faces: list[ExplainedFace]


class FileResult(BaseModel):
    """A file of a batch: its faces, or its problem as RFC 9457 has it."""

    index: int
    filename: str | None = None
    image: Size | None = None
    faces: list[Face] | None = None
    problem: dict[str, Any] | None = None


class Batch(BaseModel):
    id: str
    model: Model
    results: list[FileResult]


class Version(BaseModel):
    version: int
    state: str
    error: str | None = None
    labels: list[str] = Field(default_factory=list)
    classes: list[str] | None = None
    unclear_below: float | None = None


class ModelVersions(BaseModel):
    name: str
    default: bool = False
    versions: list[Version]


class Models(BaseModel):
    models: list[ModelVersions]


class Health(BaseModel):
    # Whether it would answer a photo now, and if not, why.
    ready: bool
    reason: str | None = None
    detector: str | None = None


class Feedback(BaseModel):
    prediction_id: str
    face: int
    emotion: str | None = None
    correct: bool | None = None
    predicted: str


class StreamFace(BaseModel):
    # The same number as long as it is the same face.
    track: int
    box: Box
    score: float | None = None
    roll: float | None = None
    emotion: str
    unclear: bool | None = None
    probabilities: dict[str, float]
    smoothed: dict[str, float]


class StreamResult(BaseModel):
    """A frame's faces."""

    seq: int
    faces: list[StreamFace]
    timing_ms: dict[str, float] = Field(default_factory=dict)


class Dropped(BaseModel):
    """A frame that was not looked at: `busy`, `rate` or `late`."""

    seq: int
    reason: str
