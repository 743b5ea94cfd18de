"""The report of an experiment, as JSON shows it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

Verdict = Literal["keep running", "variant better", "control better", "broken split"]

# A hundredth of a point is far below anything that an experiment can tell.
Rate = Annotated[float, AfterValidator(lambda value: round(value, 6))]
PValue = Annotated[float, AfterValidator(lambda value: float(f"{value:.4g}"))]


class IntervalOut(BaseModel):
    low: Rate
    high: Rate


class Accuracy(IntervalOut):
    """Wilson's 95 % interval."""

    value: Rate


class Answers(BaseModel):
    model: str
    version: int
    requests: int


class Confusion(BaseModel):
    """Faces whose true emotion the feedback names. counts[i][j]: truth classes[i], predicted classes[j]."""

    classes: list[str]
    counts: list[list[int]]


class Latency(BaseModel):
    """Milliseconds of a whole request."""

    p50: float
    p95: float
    p99: float


class VariantReport(BaseModel):
    name: str
    control: bool
    share: Rate = Field(description="Of the traffic, by the present weights.")
    requests: int = Field(description="Assigned to it and stored, fallbacks included, forced ones not.")
    lost: int = Field(description="Assigned to it as well, but they failed or are not stored.")
    fallback_rate: Rate | None = Field(
        description="Share of them that the control answered. They count in nothing below, because the answer is "
        "another model's."
    )
    answered_by: list[Answers] = Field(description="More than one version means that a label moved meanwhile.")
    faces: int
    emotions: dict[str, Rate] = Field(description="Share of the faces, by predicted emotion.")
    latency_ms: Latency | None
    feedback: int = Field(description="Faces with feedback.")
    feedback_rate: Rate | None = Field(description="Share of the subjects with a face who have feedback on one.")
    subjects: int = Field(description="Those whom they are of; a request without a subject counts as one.")
    design_effect: float | None = Field(
        description="How many faces tell as much as one independent one, because those of a subject are alike."
    )
    accuracy: Accuracy | None
    macro_f1: Rate | None = Field(description="Over the classes that occur; only from feedback that names the emotion.")
    confusion: Confusion


class Needed(BaseModel):
    """Faces with feedback for the effect and power asked for, at the present accuracy, design effect and shares."""

    variant: int = Field(description="Until the always-valid test finds the effect.")
    control: int
    still: int = Field(description="How many the two of them lack.")


class HistoryPoint(BaseModel):
    """Where a comparison stood at a time."""

    time: datetime = Field(description="Predictions made until then, with the feedback that they have now.")
    faces: int = Field(description="Those with feedback, of both sides.")
    difference: Rate
    interval: IntervalOut | None = Field(description="As always_valid_interval.")
    p_value: PValue | None = Field(description="As always_valid_p.")


class Comparison(BaseModel):
    """A variant against the control. Differences are of accuracy, the variant's less the control's."""

    variant: str
    difference: Rate
    interval: IntervalOut = Field(description="Newcombe's 95 % interval: valid at one look that was planned.")
    p_value: PValue = Field(description="Of no difference: valid at one look that was planned.")
    always_valid_interval: IntervalOut | None = Field(
        description="At `alpha_each`, valid at every look. Null below 100 effective faces."
    )
    always_valid_p: PValue | None = Field(description="Valid at every look. Null below 100 effective faces.")
    significant: bool = Field(description="always_valid_p is below alpha_each: this alone decides.")
    needed: Needed
    history: list[HistoryPoint] = Field(description="How it came about: at most 200 points, the last one as above.")


class SplitCheck(BaseModel):
    """Sample-ratio mismatch: do subjects fall to the variants by the weights, and does nothing get lost on the way?"""

    id: str = Field(description="Of the split that the whole report is about: its variants, targets and weights.")
    since: datetime = Field(description="When it was first seen.")
    elsewhere: int = Field(description="Requests of the experiment under other splits, which count nowhere.")
    observed: dict[str, int] = Field(description="Subjects, and requests without one.")
    expected: dict[str, float]
    always_valid_p: PValue = Field(description="Valid at every look; up to 0.05 the split is broken.")
    assigned: dict[str, int] = Field(description="Requests, by the gateways' own count.")
    lost: dict[str, int] = Field(description="Those of them that failed or are not stored.")
    lost_p: PValue = Field(
        description="Of losses that hit all alike, valid at every look; up to 0.001, and from a difference of 0.1 % of "
        "the requests on, the split is broken."
    )
    broken: bool


class Report(BaseModel):
    experiment: str
    generated_at: datetime = Field(description="When its counts were read.")
    age_s: float = Field(description="How long ago that was; at most 300 s. `fresh=true` counts anew.")
    verdict: Verdict
    advice: str
    alpha: float = Field(
        description="Chance that a variant is called better or worse which is neither, over all looks at one split."
    )
    alpha_each: float = Field(description="Divided among the comparisons (Bonferroni).")
    effect: float
    power: float
    split: SplitCheck
    variants: list[VariantReport] = Field(description="The control first.")
    comparisons: list[Comparison] = Field(description="Where both sides have feedback.")
    notes: list[str] = Field(description="How to read it.")
