"""A training run as data: one YAML file per published model, any key overridden on the command line."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.augment import AugmentConfig
from trainer.errors import ConfigError


class TrainConfig(BaseModel):
    """Everything that decides what a run computes, apart from the data. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A name in `trainer.models.MODELS`."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of that model."""
    epochs: int = Field(default=40, ge=1)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    """At the end of the warm-up; cosine decay to zero from there (Loshchilov & Hutter 2017)."""
    weight_decay: float = Field(default=0.02, ge=0)
    """Decoupled, AdamW and SGD only (Loshchilov & Hutter 2019); Adam refuses any but 0."""
    warmup_epochs: float = Field(default=2, ge=0)
    """Epochs in which the learning rate rises linearly from zero."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights, which is what is evaluated and exported."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest global norm of a gradient."""
    seed: int = 0
    augment: AugmentConfig = Field(default_factory=lambda: AugmentConfig())


def load_config(path: Path, overrides: list[str]) -> TrainConfig:
    """Read a YAML config and apply overrides.

    Args:
        path: YAML file of `TrainConfig` keys.
        overrides: `key=value` each, dotted for nested keys (`augment.flip=0`); values are read as YAML.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type or value out of range; each one named.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a mapping of keys to values")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ConfigError(f"override {override!r} is not key=value")
        *parents, leaf = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"override {override!r}: {parent!r} has no keys of its own")
        target[leaf] = yaml.safe_load(value)
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise ConfigError(f"{path}: {problems}") from error
    if config.optimizer == "adam" and config.weight_decay:
        raise ConfigError(f"{path}: weight_decay: Adam has none; use adamw, or set it to 0")
    return config


def dump_config(config: TrainConfig) -> str:
    """The effective config as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
