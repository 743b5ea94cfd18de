"""The public JSON contract."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.settings import MAX_FACE
from wire.target import Label

# FileReader.readAsDataURL gives web pages that prefix; it is ignored, for the content tells the format.
Base64Image = Annotated[str, Field(description="base64 of the image file, with or without `data:image/...;base64,`")]
Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]


class PredictQuery(BaseModel):
    """Query parameters of both prediction endpoints. Unknown ones are errors: a typo must not be ignored."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="Model to ask; the default model when absent.")
    version: int | None = Field(None, ge=0, lt=2**63, description="Exact version. Not together with `label`.")
    label: Label | None = Field(None, description="Version label, such as `stable`. Not together with `version`.")
    max_faces: int | None = Field(None, ge=1, description="At most this many faces per image, largest first.")
    min_face: int | None = Field(
        None,
        ge=1,
        le=MAX_FACE,
        description="Smallest face to look for, in pixels of the image. When absent, what `detection.min_face` tells.",
    )
    detector: Literal["auto", "yunet", "mtcnn", "haar"] | None = Field(
        None, description="What finds the faces; the gateway's default when absent. 422 names those that it has."
    )
    align: Literal["on", "off"] = Field(
        "on", description="`on` turns heads that lean by more than 12 degrees upright before a model sees them."
    )
    rotate: Literal["none", "auto"] = Field(
        "none", description="`auto` looks at the image turned where no face is found as it is."
    )
    crop: Literal["detect", "none"] = Field(
        "detect", description="`detect` finds faces; `none` takes the whole image as one face."
    )
    lang: Literal["en", "vi"] = Field("en", description="Language of the words in an annotated picture.")


class Base64Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: Base64Image


class BoxOut(BaseModel):
    """Pixels of the image after its EXIF orientation was applied; (x, y) is the top left corner."""

    x: int
    y: int
    width: int
    height: int


class Point(BaseModel):
    """Pixels of the image after its EXIF orientation was applied."""

    x: float
    y: float


class Landmarks(BaseModel):
    """Left and right are those of the picture."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


class DetectionOut(BaseModel):
    detector: str = Field(description="`yunet`, `mtcnn` or `haar`.")
    side: int = Field(description="Longer side of the picture that was searched, pixels.")
    min_face: int = Field(description="The smallest face that this search could see, pixels of the image.")


class FaceOut(BaseModel):
    box: BoxOut
    score: Probability | None = Field(description="The detector's confidence; null for `haar` and with `crop=none`.")
    roll: float | None = Field(
        description="Degrees that the head leans to the right; null with `align=off` and `crop=none`."
    )
    landmarks: Landmarks | None = Field(description="Null with `align=off` and `crop=none`.")
    emotion: str = Field(description="The class with the highest probability.")
    confidence: Probability = Field(description="The probability of `emotion`.")
    unclear: bool | None = Field(
        description="The confidence is under the version's `unclear_below`: do not rely on `emotion`. Null where the"
        " version does not say."
    )
    probabilities: dict[str, Probability]


class ImageOut(BaseModel):
    """Size in pixels after EXIF orientation."""

    width: int
    height: int


class ModelOut(BaseModel):
    name: str
    version: int = Field(description="The version that the model server says answered.")
    label: str | None = Field(description="The label that was asked for, if one was.")


class Timing(BaseModel):
    """Milliseconds. In a batch, decode and detect are sums over images that were worked on in parallel."""

    decode: Milliseconds
    detect: Milliseconds
    infer: Milliseconds
    total: Milliseconds


class _Answer(BaseModel):
    id: str = Field(description="Names this prediction.")
    experiment: str | None = Field(description="The experiment that this request was part of, if any.")
    variant: str | None = Field(description="The variant it was given.")
    fallback: bool = Field(description="The variant failed, and the control variant answered for it.")
    model: ModelOut


class PredictResponse(_Answer):
    image: ImageOut
    detection: DetectionOut | None = Field(description="How faces were looked for; null with `crop=none`.")
    faces: list[FaceOut] = Field(description="Largest first; empty when no face was found.")
    timing_ms: Timing


class Problem(BaseModel):
    """RFC 9457. Further members depend on `type`: `limit`, `size`, `available`, `state`, `errors`."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None


class ExplainedFace(FaceOut):
    heatmap: str = Field(
        description="base64 of a PNG with transparency: Grad-CAM of `emotion`, to be laid over `heatmap_box`."
    )
    heatmap_box: BoxOut = Field(description="Where it belongs; it may pass the edges of the image.")


class ExplainResponse(BaseModel):
    experiment: str | None
    variant: str | None
    fallback: bool
    model: ModelOut
    image: ImageOut
    detection: DetectionOut | None
    faces: list[ExplainedFace] = Field(description="Largest first.")
    timing_ms: Timing


class _FileResult(BaseModel):
    index: int = Field(description="Place of the file in the request, from 0.")
    filename: str | None


class FileFaces(_FileResult):
    image: ImageOut
    detection: DetectionOut | None
    faces: list[FaceOut]


class FileProblem(_FileResult):
    problem: Problem


class BatchResponse(_Answer):
    results: list[FileFaces | FileProblem] = Field(description="One per file, in the order given.")
    timing_ms: Timing


class VersionOut(BaseModel):
    version: int
    state: str = Field(description="TF Serving's state: START, LOADING, AVAILABLE, UNLOADING or END.")
    error: str | None = Field(description="Why it did not load, or how it breaks the model contract.")
    labels: list[str]
    classes: list[str] | None = Field(description="Names in the order of the scores; null unless AVAILABLE.")
    unclear_below: Probability | None = Field(
        description="Answers of less confidence are `unclear`; null where the version does not say."
    )


class ModelVersions(BaseModel):
    name: str
    default: bool
    versions: list[VersionOut] = Field(description="Newest first; empty when the model server does not have it.")


class ModelsResponse(BaseModel):
    models: list[ModelVersions]


class SubjectOut(BaseModel):
    """One of both is set."""

    header: str | None
    cookie: str | None


class _ModelChoiceOut(BaseModel):
    name: str
    model: str
    version: int | None
    label: str | None


class VariantOut(_ModelChoiceOut):
    weight: float
    share: Probability = Field(description="Part of the subjects, in steps of 1/10,000.")
    circuit: Literal["closed", "open", "half-open"] = Field(
        description="`closed`: it is asked; `open`: the control answers for it; `half-open`: one request tries it."
    )


class ShadowOut(_ModelChoiceOut):
    """Counts are of this gateway process since it started."""

    share: Probability = Field(description="Part of the answers that are shadowed.")
    results: int = Field(description="Answers that the target scored, too.")
    faces: int
    agreement: Probability | None = Field(description="Part of the faces that got the same emotion.")
    divergence: Probability | None = Field(
        description="Mean Jensen-Shannon divergence to the answer, bits per face: 0 when equal, 1 when disjoint."
    )
    dropped: int = Field(description="Answers not shadowed, as the queue was full.")
    errors: int = Field(description="Answers that the target failed on.")


class ExperimentOut(BaseModel):
    name: str
    state: Literal["scheduled", "running", "ended"]
    start: AwareDatetime
    end: AwareDatetime | None
    subject: SubjectOut = Field(description="The header or cookie that says who asks.")
    control: str
    variants: list[VariantOut]
    shadow: list[ShadowOut]


class ExperimentsResponse(BaseModel):
    experiments: list[ExperimentOut]
    error: str | None = Field(
        description="Why experiments.yaml, as it is now, is not in use; what is listed is then the last valid one."
    )


class AssignmentOut(BaseModel):
    experiment: str
    bucket: int = Field(ge=0, lt=10_000, description="SHA-256 of `salt:subject`, modulo 10,000.")
    variant: str


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(Health):
    detector: str = Field(description="What finds faces unless a request names another.")
