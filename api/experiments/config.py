"""experiments.yaml: its schema, and reading it with errors that name file, key and reason."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from api.config_file.document import ConfigFileError, Strict, problem, read_document
from api.experiments.buckets import allocate, shares
from wire.target import Label, Name, Target

ROOT = "experiments"

State = Literal["scheduled", "running", "ended"]


class ModelChoice(Strict):
    """A model and exactly one of version and label: what is merely the newest would change during the experiment."""

    name: Name
    model: str = Field(min_length=1)
    version: int | None = Field(default=None, ge=0, lt=2**63, strict=True)
    label: Label | None = None

    @cached_property
    def target(self) -> Target:
        return Target(self.model, self.version, self.label)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.version is None) == (self.label is None):
            raise ValueError("give either version or label")
        return self


class Variant(ModelChoice):
    # Relative to the other variants' weights; 0 answers only those who force it.
    weight: float = Field(ge=0, strict=True, allow_inf_nan=False)


class Shadow(ModelChoice):
    # Part of the experiment's answers whose faces are scored again by this target.
    share: float = Field(default=1.0, gt=0, le=1, strict=True)


class SubjectSource(Strict):
    """Where a request says whom it is from: exactly one of a header and a cookie."""

    header: Name | None = None
    cookie: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.header is None) == (self.cookie is None):
            raise ValueError("give either header or cookie")
        return self


def _not_a_number(value: Any) -> Any:
    if isinstance(value, int | float):
        # Pydantic would read 20260101 as seconds since 1970.
        raise ValueError("must be a date and time with a time zone, such as 2026-12-01T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number)]


class Experiment(Strict):
    name: Name
    # The name when absent.
    salt: str = Field(default="", min_length=1)
    start: Moment
    end: Moment | None = None
    subject: SubjectSource = SubjectSource(header="X-Subject-ID")
    variants: tuple[Variant, ...] = Field(min_length=1, max_length=10)
    # The first variant when absent.
    control: str = ""
    shadow: tuple[Shadow, ...] = Field(default=(), max_length=10)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        defaults = {"salt": values.get("name")}
        variants = values.get("variants")
        if isinstance(variants, list) and variants and isinstance(variants[0], dict):
            defaults["control"] = variants[0].get("name")
        return {key: value for key, value in defaults.items() if isinstance(value, str)} | values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("variant", [variant.name for variant in self.variants])
        _unique("shadow", [shadow.name for shadow in self.shadow])
        if self.find(self.control) is None:
            raise ValueError(f"control {self.control!r} is none of the variants {self.variant_names}")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must be later than start")
        for variant, buckets in zip(self.variants, self.buckets, strict=True):
            if variant.weight > 0 and buckets == 0:
                raise ValueError(f"the weight of variant {variant.name!r} is less than one part in 10,000")
        return self

    @property
    def variant_names(self) -> list[str]:
        return [variant.name for variant in self.variants]

    @cached_property
    def buckets(self) -> tuple[int, ...]:
        """How many of the 10,000 buckets each variant owns."""
        return shares([variant.weight for variant in self.variants])

    @cached_property
    def split_id(self) -> str:
        """Names the way in which the traffic is divided, and among what: 16 hexadecimal digits.

        Edits that leave it alone, such as 50/50 written as 1/1, do not change it; going back gives the earlier one.
        """
        variants = [
            (variant.name, buckets, variant.model, variant.version, variant.label)
            for variant, buckets in zip(self.variants, self.buckets, strict=True)
        ]
        content = json.dumps((self.name, self.salt, self.control, variants))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @cached_property
    def control_variant(self) -> Variant:
        return next(variant for variant in self.variants if variant.name == self.control)

    def find(self, name: str) -> Variant | None:
        """The variant of that name, if there is one."""
        return next((variant for variant in self.variants if variant.name == name), None)

    @cached_property
    def _variants_by_bucket(self) -> tuple[Variant, ...]:
        weights = tuple(variant.weight for variant in self.variants)
        variants = {variant.name: variant for variant in self.variants}
        return tuple(variants[name] for name in allocate(tuple(variants), weights, self.control))

    def variant_of(self, bucket: int) -> Variant:
        """The variant that owns a bucket, 0 to 9,999."""
        return self._variants_by_bucket[bucket]

    def state(self, now: datetime) -> State:
        """
        Args:
            now: aware. The end itself is no longer part of the experiment.
        """
        if now < self.start:
            return "scheduled"
        return "running" if self.end is None or now < self.end else "ended"

    def overlaps(self, other: "Experiment") -> bool:
        """Is there a moment at which both run?"""
        return (other.end is None or self.start < other.end) and (self.end is None or other.start < self.end)


class ExperimentsConfig(Strict):
    """The whole file. At any moment at most one experiment runs, so that no request belongs to two."""

    experiments: tuple[Experiment, ...] = Field(default=(), max_length=100)
    # Who may name a variant (X-Variant): keys of scope `test`, or anybody.
    forced: Literal["testers", "open"] = "testers"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("experiment", [experiment.name for experiment in self.experiments])
        for one, other in combinations(self.experiments, 2):
            if one.overlaps(other):
                raise ValueError(f"experiments {one.name!r} and {other.name!r} run at the same time; end one first")
        return self

    def find(self, name: str) -> Experiment | None:
        """The experiment of that name, if there is one."""
        return next((experiment for experiment in self.experiments if experiment.name == name), None)

    def running(self, now: datetime) -> Experiment | None:
        """The one that runs at an aware moment, if one does."""
        return next((one for one in self.experiments if one.state(now) == "running"), None)


def parse(content: bytes, path: Path, models: Sequence[str]) -> ExperimentsConfig:
    """The content of experiments.yaml.

    Args:
        path: for messages.
        models: those that variants may name.

    Raises:
        ConfigFileError: says what is wrong, and where.
    """
    config = read_document(content, path, ExperimentsConfig, ROOT)
    unknown = [
        problem(
            (ROOT, i, kind, j, "model"), f"{choice.model!r} is not one of EMOTION_MODELS ({', '.join(models)})", ROOT
        )
        for i, experiment in enumerate(config.experiments)
        for kind, choices in (("variants", experiment.variants), ("shadow", experiment.shadow))
        for j, choice in enumerate(choices)
        if choice.model not in models
    ]
    if unknown:
        raise ConfigFileError(path, unknown)
    return config


def _unique(thing: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{thing} {twice[0]!r} is there twice")
