"""Architectures as data: what a search samples, stores, compares and builds.

A spec is frozen and hashable, goes to JSON and back, and two equal specs are the same network.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trainer.errors import ConfigError

PLAIN_ACTIVATIONS = ("softmax", "elu", "selu", "softplus", "softsign", "relu", "tanh", "sigmoid", "linear")
RESIDUAL_ACTIVATIONS = ("relu", "silu")


@dataclass(frozen=True)
class Module:
    """One module of a plain CNN: convolution, normalisation, activation, normalisation, dropout."""

    # Output channels.
    filters: int
    # Side of the square kernel.
    kernel: int
    # 1 or 2.
    stride: int
    # Whether the convolution has one.
    bias: bool
    # Batch normalisation before and after the activation.
    norm_before: bool
    # One of `PLAIN_ACTIVATIONS`; softmax is over channels.
    activation: str
    norm_after: bool
    # Rate; 0 is none.
    dropout: float

    def __post_init__(self) -> None:
        _require(self.filters >= 1, "filters", self.filters, "at least 1")
        _require(self.kernel >= 1, "kernel", self.kernel, "at least 1")
        _require(self.stride in (1, 2), "stride", self.stride, "1 or 2")
        _require(self.activation in PLAIN_ACTIVATIONS, "activation", self.activation, ", ".join(PLAIN_ACTIVATIONS))
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")


@dataclass(frozen=True)
class PlainSpec:
    """The tutorial's network: modules in a row ("valid" padding, so that sides shrink), a 3x3 convolution to the
    classes and global pooling.
    """

    # At least one.
    modules: tuple[Module, ...]
    # How the last map becomes logits.
    pooling: Literal["average", "max"]

    def __post_init__(self) -> None:
        _require(len(self.modules) >= 1, "modules", len(self.modules), "at least 1")
        _require(self.pooling in ("average", "max"), "pooling", self.pooling, "average or max")


@dataclass(frozen=True)
class Stage:
    """Residual blocks of one width on maps of one size."""

    # Output channels.
    width: int
    # Blocks.
    depth: int
    # `basic`, two 3x3 convolutions (He et al. 2016, figure 5 left), or `bottleneck`, 1x1 to half the width, 3x3 and 1x1
    # back (figure 5 right, whose ratio is a quarter).
    block: Literal["basic", "bottleneck"]

    def __post_init__(self) -> None:
        _require(self.width >= 8 and self.width % 8 == 0, "width", self.width, "a multiple of 8")
        _require(self.depth >= 1, "depth", self.depth, "at least 1")
        _require(self.block in ("basic", "bottleneck"), "block", self.block, "basic or bottleneck")


@dataclass(frozen=True)
class ResidualSpec:
    """A residual network that leaves full resolution at once, where most operations would go."""

    # Channels of a 3x3 convolution at 48x48; 0 is none. A 3x3 convolution with stride 2 follows.
    stem: int
    # One to four; the first works at 24x24, each next one at half that side.
    stages: tuple[Stage, ...]
    # Reduction of the squeeze-and-excitation gate (Hu et al. 2018) in every block; 0 is none.
    squeeze: int
    # One of `RESIDUAL_ACTIVATIONS`.
    activation: str
    # Rate before the dense layer; 0 is none.
    dropout: float

    def __post_init__(self) -> None:
        _require(self.stem >= 0, "stem", self.stem, "at least 0")
        _require(1 <= len(self.stages) <= 4, "stages", len(self.stages), "1 to 4")
        _require(self.squeeze in (0, 4, 8, 16), "squeeze", self.squeeze, "0, 4, 8 or 16")
        _require(
            self.activation in RESIDUAL_ACTIVATIONS, "activation", self.activation, ", ".join(RESIDUAL_ACTIVATIONS)
        )
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")


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
        if space == "tutorial":
            rest["modules"] = tuple(Module(**module) for module in rest.get("modules", ()))
        else:
            rest["stages"] = tuple(Stage(**stage) for stage in rest.get("stages", ()))
        return SPACES[space](**rest)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"spec of space {space}: {error}") from error


def spec_digest(spec: ArchitectureSpec) -> str:
    """Names the architecture: the first 12 hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(to_json(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _require(valid: bool, name: str, value: object, allowed: str) -> None:
    if not valid:
        raise ConfigError(f"spec: {name} is {value!r}, but must be {allowed}")
