"""Specs as data: JSON, sampling, and costs that agree with what Keras builds."""

import json
import math
from typing import Any

import keras
import pytest

from trainer.errors import ConfigError
from trainer.networks.networks import random
from trainer.networks.spec import Module, PlainSpec, ResidualSpec, Stage, from_json, spec_digest, to_json
from trainer.networks.spec_cost import Budget, Cost, cost
from trainer.search.space import SPACES, objection, sample

ANY = Budget(0, 10**12, 10**12)
MODULE = Module(16, 3, 1, bias=False, norm_before=True, activation="relu", norm_after=False, dropout=0.0)
RESIDUAL = ResidualSpec(16, (Stage(40, 1, "basic"), Stage(80, 2, "basic")), 8, "relu", 0.4)


def keras_macs(model: keras.Model) -> int:
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total


@pytest.mark.parametrize("space", SPACES)
def test_a_spec_goes_through_json_and_back(space: str) -> None:
    for seed in range(30):
        spec = sample(space, seed, ANY)
        text = json.dumps(to_json(spec))
        assert from_json(json.loads(text)) == spec
        assert spec_digest(from_json(json.loads(text))) == spec_digest(spec)


@pytest.mark.parametrize("space", SPACES)
def test_a_seed_is_a_spec(space: str) -> None:
    assert [sample(space, seed, ANY) for seed in range(20)] == [sample(space, seed, ANY) for seed in range(20)]
    assert len({spec_digest(sample(space, seed, ANY)) for seed in range(20)}) >= 19


def test_the_tutorials_space_is_the_tutorials() -> None:
    seen: dict[str, set[Any]] = {}

    def choose(name: str, options: Any) -> Any:
        seen.setdefault(name.rpartition(".")[2], set()).update(options)
        return options[-1] if name == "modules" else options[0]

    assert len(SPACES["tutorial"](choose).modules) == 8  # type: ignore[union-attr]
    assert seen["modules"] == set(range(2, 9))
    assert seen["filters"] == {16, 24, 32, 40, 48, 56}
    assert seen["kernel"] == {3, 5, 7}
    assert seen["stride"] == {1, 2}
    assert seen["dropout"] == {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6}
    assert seen["activation"] == {
        *("softmax", "elu", "selu", "softplus", "softsign", "relu", "tanh", "sigmoid", "linear")
    }
    assert seen["pooling"] == {"average", "max"}


@pytest.mark.parametrize("space", SPACES)
def test_costs_are_what_keras_builds(space: str) -> None:
    specs = [sample(space, seed, ANY) for seed in range(3)]
    for spec in specs:
        model = random(spec=to_json(spec))
        assert cost(spec) == Cost(model.count_params(), keras_macs(model)), spec


@pytest.mark.parametrize("squeeze", [0, 16])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_costs_of_every_kind_of_block(block: Any, squeeze: int) -> None:
    spec = ResidualSpec(0, (Stage(24, 2, block), Stage(24, 1, block), Stage(48, 2, block)), squeeze, "silu", 0.0)
    model = random(spec=spec)
    assert cost(spec) == Cost(model.count_params(), keras_macs(model))


def test_a_sample_over_budget_or_impossible_is_drawn_again() -> None:
    budget = Budget(min_macs=1_000_000, max_macs=9_000_000, max_parameters=60_000)
    free = [sample("tutorial", seed, ANY) for seed in range(20)]
    assert any(objection(spec, budget) for spec in free)
    for seed in range(20):
        price = cost(sample("tutorial", seed, budget))
        assert 1_000_000 <= price.macs <= 9_000_000
        assert price.parameters <= 60_000


def test_a_map_that_shrinks_to_nothing_is_an_objection() -> None:
    halving = Module(16, 7, 2, bias=True, norm_before=False, activation="elu", norm_after=True, dropout=0.1)
    spec = PlainSpec((halving,) * 4, "max")
    assert objection(spec, ANY) == "spec: module 3: kernel 7 on a map of side 1"
    with pytest.raises(ConfigError, match="kernel 7 on a map of side 1"):
        random(spec=spec)
    head = PlainSpec((halving,) * 3, "max")
    assert objection(head, ANY) == "spec: head: kernel 3 on a map of side 1"
    with pytest.raises(ConfigError, match="head: kernel 3"):
        random(spec=head)


def test_a_map_that_shrinks_to_nothing_on_small_faces_is_an_objection_where_there_are_some() -> None:
    halving = Module(16, 7, 2, bias=True, norm_before=False, activation="elu", norm_after=True, dropout=0.1)
    spec = PlainSpec((halving, halving), "max")
    assert objection(spec, ANY) is None
    assert objection(spec, ANY, 16) == "spec: module 1: kernel 7 on a map of side 5"
    assert all(objection(sample("tutorial", seed, ANY, smallest_side=16), ANY, 16) is None for seed in range(20))
    with pytest.raises(ConfigError, match="none of 50 samples"):
        sample("efficient", 0, Budget(max_macs=1), attempts=50, smallest_side=32)


def test_objections_name_what_is_over() -> None:
    price = cost(RESIDUAL)
    assert objection(RESIDUAL, Budget(price.macs, price.macs, price.parameters)) is None
    assert "under" in str(objection(RESIDUAL, Budget(min_macs=price.macs + 1)))
    assert "multiply-accumulates, over" in str(objection(RESIDUAL, Budget(max_macs=price.macs - 1)))
    assert "parameters, over" in str(objection(RESIDUAL, Budget(max_parameters=price.parameters - 1)))


def test_a_budget_that_nothing_fits_ends() -> None:
    with pytest.raises(ConfigError, match="none of 50 samples fits the budget"):
        sample("efficient", 0, Budget(max_macs=1), attempts=50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "other"}, "unknown space 'other'; known: tutorial, efficient"),
        ({"squeeze": 5}, "squeeze: "),
        ({"activation": "softmax"}, "activation: "),
        ({"stages": []}, "stages: "),
        ({"stages": [{"width": 20, "depth": 1, "block": "basic"}]}, r"stages\.0\.width: .*multiple of 8"),
        ({"stages": [{"width": 24, "depth": 1}]}, r"stages\.0\.block: "),
        ({"dropout": 1.0}, "dropout: "),
        ({"colour": 3}, "colour: "),
    ],
)
def test_bad_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json({**to_json(RESIDUAL), **change})


@pytest.mark.parametrize(
    "change", [{"filters": 0}, {"kernel": 0}, {"stride": 3}, {"activation": "gelu"}, {"dropout": -0.1}]
)
def test_bad_modules_are_refused(change: dict[str, Any]) -> None:
    plain = to_json(PlainSpec((MODULE,), "average"))
    with pytest.raises(ConfigError, match=next(iter(change))):
        from_json({**plain, "modules": [{**plain["modules"][0], **change}]})
    with pytest.raises(ConfigError, match="pooling"):
        from_json({**plain, "pooling": "sum"})
