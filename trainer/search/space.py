"""The two spaces that architectures are sampled from."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from faces.contract import SIDE
from trainer.errors import ConfigError
from trainer.networks.spec import (
    PLAIN_ACTIVATIONS,
    RESIDUAL_ACTIVATIONS,
    ArchitectureSpec,
    Module,
    PlainSpec,
    ResidualSpec,
    Stage,
)
from trainer.networks.spec_cost import Budget, cost

Choose = Callable[[str, Sequence[Any]], Any]
"""Picks one of the options for the parameter of that name: a random generator, or an Optuna trial."""

# From 24x24 down. Width is cheap where maps are small: one more channel costs a quarter as much a stage later.
_WIDTHS = ((24, 32, 48, 64), (48, 64, 96, 128), (96, 128, 160, 192, 256), (160, 192, 224, 256))
_DEPTHS = ((1, 2), (1, 2, 3), (1, 2, 3), (1, 2))


def tutorial(choose: Choose) -> PlainSpec:
    """The tutorial's space: 2 to 8 modules, each choosing its filters, kernel, stride, bias, normalisations,
    activation and dropout."""
    modules = tuple(
        Module(
            filters=choose(f"{prefix}.filters", tuple(range(16, 57, 8))),
            kernel=choose(f"{prefix}.kernel", (3, 5, 7)),
            stride=choose(f"{prefix}.stride", (1, 2)),
            bias=choose(f"{prefix}.bias", (False, True)),
            norm_before=choose(f"{prefix}.norm_before", (False, True)),
            activation=choose(f"{prefix}.activation", PLAIN_ACTIVATIONS),
            norm_after=choose(f"{prefix}.norm_after", (False, True)),
            dropout=choose(f"{prefix}.dropout", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
        )
        for prefix in (f"module{number}" for number in range(choose("modules", tuple(range(2, 9)))))
    )
    return PlainSpec(modules, choose("pooling", ("average", "max")))


def efficient(choose: Choose) -> ResidualSpec:
    """Residual stages on maps of 24x24 and smaller, with squeeze-and-excitation: more accuracy for an operation.

    A plain convolution at full resolution costs four times what it costs after one halving, which is why the tutorial's
    networks are slow for what they know.
    """
    count = choose("stages", (3, 4))
    block = choose("block", ("basic", "bottleneck"))
    return ResidualSpec(
        stem=choose("stem", (0, 8, 16, 24)),
        stages=tuple(
            Stage(choose(f"stage{i}.width", _WIDTHS[i]), choose(f"stage{i}.depth", _DEPTHS[i]), block)
            for i in range(count)
        ),
        squeeze=choose("squeeze", (0, 4, 8, 16)),
        activation=choose("activation", RESIDUAL_ACTIVATIONS),
        dropout=choose("dropout", (0.0, 0.2, 0.3, 0.4)),
    )


SPACES: dict[str, Callable[[Choose], ArchitectureSpec]] = {"tutorial": tutorial, "efficient": efficient}


def parameters(space: str, spec: ArchitectureSpec) -> dict[str, Any]:
    """The choices that make the space give this spec, by name: what a study enqueues.

    Raises:
        ConfigError: the space cannot give it; names the choice.
    """
    choices: dict[str, Any] = {}

    def choose(name: str, options: Sequence[Any]) -> Any:
        value = _choice(spec, name)
        if value not in options:
            raise ConfigError(f"space {space}: {name} is {value!r}, not one of {', '.join(map(str, options))}")
        choices[name] = value
        return value

    try:
        found = SPACES[space](choose)
    except AttributeError as error:
        raise ConfigError(f"space {space}: cannot give a spec of another space") from error
    if found != spec:
        raise ConfigError(f"space {space}: cannot give this spec; the nearest is {found}")
    return choices


def _choice(spec: ArchitectureSpec, name: str) -> Any:
    # As the spaces above name their choices: `stage0.width` is that of the first stage, `stages` how many there are.
    if name == "block":
        return spec.stages[0].block if isinstance(spec, ResidualSpec) else None
    part, dot, attribute = name.partition(".")
    if dot:
        kind = part.rstrip("0123456789")
        return getattr(getattr(spec, f"{kind}s")[int(part.removeprefix(kind))], attribute)
    value = getattr(spec, name)
    return len(value) if isinstance(value, tuple) else value


def sample(
    space: str, seed: int, budget: Budget, attempts: int = 10_000, *, smallest_side: int = SIDE
) -> ArchitectureSpec:
    """A random spec within the budget; the same for the same seed. `smallest_side`: see `objection`.

    Raises:
        ConfigError: nothing affordable in so many attempts.
    """
    generator = np.random.default_rng(seed)
    for _ in range(attempts):
        spec = SPACES[space](lambda _, options: options[int(generator.integers(len(options)))])
        if objection(spec, budget, smallest_side) is None:
            return spec
    raise ConfigError(f"space {space}: none of {attempts} samples fits the budget; widen it")


def objection(spec: ArchitectureSpec, budget: Budget, smallest_side: int = SIDE) -> str | None:
    """Why a spec is not worth training: it cannot be built, or costs too much or too little. None if it may be.

    Args:
        smallest_side: of the faces that it will see in training, pixels; the budget is of those of the contract.
    """
    try:
        cost(spec, smallest_side)
        return budget.check(cost(spec))
    except ConfigError as error:
        return str(error)
