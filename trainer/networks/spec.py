"""Architectures as data: what a search samples, stores, compares and builds.

A spec is frozen and hashable, goes to JSON and back, and two equal specs are the same network.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from trainer.errors import ConfigError, explain

PlainActivation = Literal["softmax", "elu", "selu", "softplus", "softsign", "relu", "tanh", "sigmoid", "linear"]
PLAIN_ACTIVATIONS: tuple[PlainActivation, ...] = get_args(PlainActivation)
ResidualActivation = Literal["relu", "silu"]
RESIDUAL_ACTIVATIONS: tuple[ResidualActivation, ...] = get_args(ResidualActivation)

_STRICT = ConfigDict(extra="forbid")

Rate = Annotated[float, Field(ge=0, lt=1)]
"""Of a dropout; 0 is none."""


@dataclass(frozen=True, config=_STRICT)
class Module:
    """One module of a plain CNN: convolution, normalisation, activation, normalisation, dropout."""

    # Output channels.
    filters: PositiveInt
    # Side of the square kernel.
    kernel: PositiveInt
    stride: Literal[1, 2]
    # Whether the convolution has one.
    bias: bool
    # Batch normalisation before the activation.
    norm_before: bool
    # Softmax is over channels.
    activation: PlainActivation
    # Batch normalisation after the activation.
    norm_after: bool
    dropout: Rate


@dataclass(frozen=True, config=_STRICT)
class PlainSpec:
    """The tutorial's network: modules in a row ("valid" padding, so that sides shrink), a 3x3 convolution to the
    classes and global pooling."""

    modules: Annotated[tuple[Module, ...], Field(min_length=1)]
    # How the last map becomes logits.
    pooling: Literal["average", "max"]


@dataclass(frozen=True, config=_STRICT)
class Stage:
    """Residual blocks of one width on maps of one size."""

    # Output channels.
    width: Annotated[int, Field(ge=8, multiple_of=8)]
    # Blocks.
    depth: PositiveInt
    # `basic`, two 3x3 convolutions (He et al. 2016, figure 5 left), or `bottleneck`, 1x1 to half the width, 3x3 and 1x1
    # back (figure 5 right, whose ratio is a quarter).
    block: Literal["basic", "bottleneck"]


@dataclass(frozen=True, config=_STRICT)
class ResidualSpec:
    """A residual network that leaves full resolution at once, where most operations would go."""

    # Channels of a 3x3 convolution at 48x48; 0 is none. A 3x3 convolution with stride 2 follows.
    stem: Annotated[int, Field(ge=0)]
    # The first works at 24x24, each next one at half that side.
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=4)]
    # Reduction of the squeeze-and-excitation gate (Hu et al. 2018) in every block; 0 is none.
    squeeze: Literal[0, 4, 8, 16]
    activation: ResidualActivation
    # Before the dense layer.
    dropout: Rate


ArchitectureSpec = PlainSpec | ResidualSpec
SPACES: dict[str, type[PlainSpec] | type[ResidualSpec]] = {"tutorial": PlainSpec, "efficient": ResidualSpec}


def to_json(spec: ArchitectureSpec) -> dict[str, Any]:
    """JSON-able mapping: the name of the spec's space under `space`, then its attributes."""
    space = next(name for name, kind in SPACES.items() if isinstance(spec, kind))
    # Through JSON, so that tuples are lists at once and a spec read back from a file compares equal.
    values: dict[str, Any] = json.loads(json.dumps({"space": space, **asdict(spec)}))
    return values


def from_json(values: Mapping[str, Any]) -> ArchitectureSpec:
    """The spec that `to_json` gave.

    Raises:
        ConfigError: unknown space, missing or unknown attribute, or a value out of range.
    """
    rest = dict(values)
    space = rest.pop("space", None)
    if space not in SPACES:
        raise ConfigError(f"spec: unknown space {space!r}; known: {', '.join(SPACES)}")
    try:
        return TypeAdapter(SPACES[space]).validate_python(rest)
    except ValidationError as error:
        raise ConfigError(f"spec of space {space}: {explain(error)}") from error


def spec_digest(spec: ArchitectureSpec) -> str:
    """Names the architecture: the first 12 hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(to_json(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
