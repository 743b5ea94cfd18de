from pathlib import Path
from typing import Any

import pytest

from trainer.errors import ConfigError
from trainer.networks.networks import build
from trainer.training.config import CONFIGS, dump_config, load_config, published


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_published_configs_load_and_build(path: Path) -> None:
    config = load_config(path, [])
    if config.model == "random" and "spec" not in config.model_args:
        return  # a search's settings: it fills in one spec after another
    assert build(config.model, config.model_args).output_shape == (None, 7)


def test_overrides_reach_nested_keys_and_survive_a_round_trip(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "residual.yaml", ["epochs=3", "augment.flip=0", "model_args.dropout=0.1"])
    assert (config.epochs, config.augment.flip, config.model_args["dropout"]) == (3, 0, 0.1)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path, []) == config


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("epoch=3", "epoch: Extra inputs are not permitted"),
        ("augment.flop=0", "augment.flop: Extra inputs are not permitted"),
        ("augment.flip=2", "augment.flip: Input should be less than or equal to 1"),
        ("epochs=0", "epochs: Input should be greater than or equal to 1"),
        ("optimizer=lion", "optimizer: Input should be"),
        ("optimizer=adam", "weight_decay: Adam has none"),
        ("epochs", "is not key=value"),
        ("epochs={", "override 'epochs={': not YAML"),
        ("sides={1:32}", r"1:32 would be read as 92.*\{1: 32\}"),
        ("epochs=010", "010 would be read as 8"),
        ("learning_rate=1:30.5", "1:30.5 would be read as 90.5"),
        ("epochs=2026-11-31", "not YAML"),
        ("epochs=!!int ''", "not YAML"),
        ("patience=0", "patience: Input should be"),
        ("ferplus=1.5", "ferplus: Input should be"),
        ("precision=float16", "precision: Input should be"),
        ("distill.views=3", "distill.views: Input should be 1 or 2"),
        ("augment.mixup=-1", "augment.mixup: Input should be"),
        ("epochs.x=1", "has no keys of its own"),
        ("sides={2: 48}", "sides: the epochs must begin at 1"),
        ("sides={1: 32, 900: 48}", "sides: the epochs must .* stay within the"),
        ("sides={1: 40, 2: 48}", "sides: a side must be 16, 32 or 48"),
        ("sides={1: 48, 2: 32}", "sides: the last side must be 48"),
    ],
)
def test_a_bad_override_is_named(override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(CONFIGS / "residual.yaml", [override])


def test_sides_hold_until_the_next_one() -> None:
    config = load_config(CONFIGS / "residual.yaml", ["epochs=9", "sides={1: 16, 3: 32, 6: 48}"])
    assert [config.side(epoch) for epoch in range(9)] == [16, 16, 32, 32, 32, 48, 48, 48, 48]
    assert load_config(CONFIGS / "residual.yaml", ["sides={}"]).side(0) == 48


def test_an_unreadable_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("{")
    for name in ("missing.yaml", "list.yaml", "broken.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_config(tmp_path / name, [])


def test_an_unpublished_name_is_answered_with_the_known_ones() -> None:
    assert published("residual") == CONFIGS / "residual.yaml"
    with pytest.raises(ConfigError, match=r"no published model 'vgg'; known: .*residual"):
        published("vgg")


@pytest.mark.parametrize(
    ("model", "arguments", "reason"),
    [
        ("residual", {"dropout": 2}, "model 'residual': .*2"),
        ("random", {"spec": "x"}, "model 'random': "),
        ("random", {"spec": {"space": "efficient", "stages": "x"}}, "spec"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(model: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build(model, arguments)


def test_unknown_models_and_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'vgg'; known: .*residual"):
        build("vgg", {})
    with pytest.raises(ConfigError, match="depth"):
        build("residual", {"depth": 3})


def test_the_closing_epochs_augment_otherwise(quick_config: Path) -> None:
    config = load_config(quick_config, ["augment.mixup=0.2", "closing={epochs: 2, mixup: 0, shift: 1}"])
    shifts = [(config.augment_at(epoch).mixup, config.augment_at(epoch).shift) for epoch in range(6)]
    assert shifts == [(0.2, 2)] * 4 + [(0, 1)] * 2
    plain = load_config(quick_config, [])
    assert all(plain.augment_at(epoch) == plain.augment for epoch in range(6))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("closing={epochs: 2, mixpu: 0}", "mixpu"),
        ("closing={epochs: 2, erase: 3}", "erase"),
        ("closing={mixup: 0}", "closing: epochs says how many"),
        ("closing={epochs: 7}", "closing: 7 epochs of a training of 6"),
        ("judged_side=32", "judged_side: 32 needs `sides` that end with it"),
    ],
)
def test_a_closing_phase_that_makes_no_sense_is_refused(quick_config: Path, override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(quick_config, [override])


def test_a_trial_may_be_judged_on_the_small_faces_that_it_was_trained_on(quick_config: Path) -> None:
    config = load_config(quick_config, ["sides={1: 32}", "judged_side=32"])
    assert config.side(5) == 32
    with pytest.raises(ConfigError, match="the last side must be 32"):
        load_config(quick_config, ["sides={1: 32, 3: 48}", "judged_side=32"])
