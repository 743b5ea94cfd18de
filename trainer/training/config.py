"""A training run as data: one YAML file per published model, any key overridden on the command line."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from faces.contract import SIDE
from trainer.errors import ConfigError, explain
from trainer.training.augment import AugmentConfig
from trainer.yaml_file import parse_yaml, read_yaml

CONFIGS = Path(__file__).parents[1] / "configs"


class DistillConfig(BaseModel):
    """How much a student listens to its teacher (Hinton, Vinyals & Dean 2015). Only `train --teacher` reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Divides both sides' logits: the higher, the more of the teacher's ranking of the wrong classes is seen.
    temperature: float = Field(default=3.0, gt=0)
    # Share of the teacher in the loss; the labels have the rest.
    weight: float = Field(default=0.7, ge=0, le=1)
    # The teacher sees each image as it is (1), or that and its mirror, averaged (2).
    views: Literal[1, 2] = 2
    # Runs among the teachers see each view that the student sees, instead of the image once (Beyer et al. 2022): they
    # know what a blur or another face mixed in has hidden. `feed: device` alone, on faces of full size.
    each_view: bool = False


class ClosingConfig(BaseModel):
    """The last epochs, in which a network sees faces more like those that it will be used on: any key of `augment`
    beside `epochs`, such as `{epochs: 5, mixup: 0, erase: 0}`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    # How many of the last epochs; 0: none.
    epochs: int = Field(default=0, ge=0)


class TrainConfig(BaseModel):
    """Everything that decides what a run computes, apart from the data. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # A name in `trainer.networks.networks.MODELS`.
    model: str
    # Keyword arguments of that model.
    model_args: dict[str, Any] = Field(default_factory=dict)
    epochs: int = Field(default=40, ge=1)
    # Stop after this many epochs without a better validation accuracy; null: never.
    patience: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    # At the end of the warm-up; cosine decay to zero from there (Loshchilov & Hutter 2017).
    learning_rate: float = Field(default=2e-3, gt=0)
    # Decoupled, AdamW and SGD only (Loshchilov & Hutter 2019), on kernels alone; Adam refuses any but 0.
    weight_decay: float = Field(default=0.02, ge=0)
    # Epochs in which the learning rate rises linearly from zero.
    warmup_epochs: float = Field(default=2, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    # Weigh a face by the inverse frequency of its class; the mean weight of a training face is 1.
    class_weights: bool = False
    # Share of the FER+ votes in a face's target, the label having the rest; a face without votes keeps its label.
    ferplus: float = Field(default=0.0, ge=0, le=1)
    # Decay per step of the exponential moving average of the weights, which is what is evaluated and exported.
    ema: float = Field(default=0.998, ge=0, lt=1)
    # Largest global norm of a gradient.
    clip_norm: float = Field(default=1.0, gt=0)
    # What the layers compute in while training; weights, evaluation and export are float32 either way.
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    # From an epoch on, counted from 1, the side of the training faces in pixels: `{1: 32, 25: 48}`. Smaller ones cost
    # by their area, and the network need not see detail before it knows the outlines (Tan & Le 2021, section 4). The
    # faces that it is judged on stay 48x48. Empty: those of the training too.
    sides: dict[int, int] = Field(default_factory=dict)
    # Side of the faces that the epochs are judged on, and the last one of `sides`. Less than 48 is for trials of a
    # search, which compare networks at a fraction of the cost: at 48x48 such a network is not what it is at 32x32.
    judged_side: int = SIDE
    # Where views are drawn and steps ordered. `host`: by OpenCV in threads, on any backend. `device`: all on a GPU, by
    # PyTorch alone (`trainer.training.device`), tens of times as fast there; without a GPU it works, slowly.
    feed: Literal["host", "device"] = "host"
    seed: int = Field(default=0, ge=0, lt=2**31)
    augment: AugmentConfig = Field(default_factory=lambda: AugmentConfig())
    closing: ClosingConfig = Field(default_factory=lambda: ClosingConfig())
    distill: DistillConfig = Field(default_factory=lambda: DistillConfig())

    @model_validator(mode="after")
    def _closing_is_an_augmentation(self) -> Self:
        if self.closing.epochs > self.epochs:
            raise ValueError(f"closing: {self.closing.epochs} epochs of a training of {self.epochs}")
        changes = self.closing.model_extra or {}
        if changes and not self.closing.epochs:
            raise ValueError("closing: epochs says how many of the last ones; without it the other keys do nothing")
        self._closing_augment  # noqa: B018 - refuses unknown keys and values out of range
        return self

    @model_validator(mode="after")
    def _views_can_be_asked_about(self) -> Self:
        if self.distill.each_view and self.feed != "device":
            raise ValueError("distill: each_view needs feed: device")
        if self.distill.each_view and self.smallest_side != SIDE:
            raise ValueError(f"distill: each_view needs faces of {SIDE} pixels in all epochs; drop `sides`")
        return self

    @model_validator(mode="after")
    def _sides_are_a_schedule(self) -> Self:
        if not self.sides:
            if self.judged_side != SIDE:
                raise ValueError(f"judged_side: {self.judged_side} needs `sides` that end with it")
            return self
        if min(self.sides) != 1 or max(self.sides) > self.epochs:
            raise ValueError(f"sides: the epochs must begin at 1 and stay within the {self.epochs} of the training")
        # A network of four stages halves its maps four times; where a half is not whole, its shortcuts do not fit.
        if any(side % 16 or not 16 <= side <= SIDE for side in self.sides.values()):
            raise ValueError(f"sides: a side must be 16, 32 or {SIDE}")
        if self.sides[max(self.sides)] != self.judged_side:
            raise ValueError(f"sides: the last side must be {self.judged_side}, the one that the network is judged at")
        return self

    @cached_property
    def _closing_augment(self) -> AugmentConfig:
        return AugmentConfig.model_validate(self.augment.model_dump() | (self.closing.model_extra or {}))

    def augment_at(self, epoch: int) -> AugmentConfig:
        """How faces are augmented in an epoch, counted from 0."""
        return self._closing_augment if epoch >= self.epochs - self.closing.epochs else self.augment

    @property
    def smallest_side(self) -> int:
        """Side of the smallest faces of the training."""
        return min(self.sides.values(), default=SIDE)

    def side(self, epoch: int) -> int:
        """Side of the training faces in an epoch, counted from 0."""
        begun = [first for first in self.sides if first <= epoch + 1]
        return self.sides[max(begun)] if begun else SIDE


def published(name: str) -> Path:
    """The YAML file of a published model.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {path.stem: path for path in CONFIGS.glob("*.yaml")}
    if name not in known:
        raise ConfigError(f"no published model {name!r}; known: {', '.join(sorted(known))}")
    return known[name]


def load_config(path: Path, overrides: list[str]) -> TrainConfig:
    """Read a YAML config and apply overrides.

    Args:
        path: YAML file of `TrainConfig` keys.
        overrides: `key=value` each, dotted for nested keys (`augment.flip=0`); values are read as YAML.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value out of range; each one named.
    """
    values = read_yaml(path, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a mapping of keys to values")
    for override in overrides:
        _apply(values, override)
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error
    if config.optimizer == "adam" and config.weight_decay:
        raise ConfigError(f"{path}: weight_decay: Adam has none; use adamw, or set it to 0")
    return config


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r} is not key=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override {override!r}: {parent!r} has no keys of its own")
    values[leaf] = parse_yaml(text, f"override {override!r}")


def dump_config(config: TrainConfig) -> str:
    """The effective config as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
