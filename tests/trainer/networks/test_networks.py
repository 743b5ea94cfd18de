from typing import Any

import keras
import numpy as np
import pytest

from trainer.errors import ConfigError
from trainer.networks.networks import CAM_LAYER, build, mini_xception, residual


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return residual()


def test_residual_is_the_tutorials_network(model: keras.Model) -> None:
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("SeparableConv2D") == 10
    assert kinds.count("MaxPool") == kinds.count("Add") == 5
    assert [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)] == [128, 64, 32, 7]
    # Counted by hand: weights and biases of the convolutions, separable convolutions, normalisations and head.
    assert model.count_params() == 230_807


def test_logits_are_linear(model: keras.Model) -> None:
    logits = model.predict(np.random.default_rng(0).uniform(-1, 1, (64, 48, 48, 1)), verbose=0)
    assert logits.min() < 0
    assert model.get_layer("logits").activation is keras.activations.linear


def test_every_kernel_but_no_bias_or_scale_is_penalised(model: keras.Model) -> None:
    kernels = [w for w in model.trainable_weights if "kernel" in w.path]
    assert len(model.losses) == len(kernels)
    expected = 0.01 * sum(float((np.asarray(w) ** 2).sum()) for w in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_the_explained_map_is_fine_enough_to_point(model: keras.Model) -> None:
    assert model.get_layer(CAM_LAYER).output.shape[1:3] == (6, 6)


def test_mini_xception_is_the_published_network() -> None:
    built = mini_xception()
    kinds = [type(layer).__name__ for layer in built.layers]
    assert kinds.count("SeparableConv2D") == 8
    assert kinds.count("Add") == 4
    assert not any(isinstance(layer, keras.layers.Dense) for layer in built.layers)
    # The published implementation's own count for seven classes.
    assert built.count_params() == 58_423
    assert built.output_shape == (None, 7)
    assert built.get_layer(CAM_LAYER).output.shape[1:3] == (6, 6)


EFFICIENT = {
    "space": "efficient",
    "stem": 8,
    "stages": [{"width": 24, "depth": 1, "block": "basic"}, {"width": 48, "depth": 2, "block": "bottleneck"}],
    "squeeze": 8,
    "activation": "silu",
    "dropout": 0.2,
}
MODULE = {
    "filters": 16,
    "kernel": 5,
    "stride": 2,
    "bias": True,
    "norm_before": True,
    "activation": "softmax",
    "norm_after": True,
    "dropout": 0.1,
}


@pytest.mark.parametrize(
    ("spec", "side"),
    [(EFFICIENT, 12), ({"space": "tutorial", "modules": [MODULE, {**MODULE, "stride": 1}], "pooling": "max"}, 18)],
)
def test_a_spec_becomes_a_network_with_a_map_to_explain(spec: dict[str, Any], side: int) -> None:
    built = build("random", {"spec": spec})
    logits = built.predict(np.random.default_rng(0).uniform(-1, 1, (5, 48, 48, 1)), verbose=0)
    assert logits.shape == (5, 7)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert logits.std() > 0
    assert built.get_layer(CAM_LAYER).output.shape[1:3] == (side, side)


def test_a_tutorial_module_is_convolution_norm_activation_norm_dropout() -> None:
    built = build("random", {"spec": {"space": "tutorial", "modules": [MODULE], "pooling": "average"}})
    kinds = [type(layer).__name__ for layer in built.layers[1:]]
    assert kinds[:5] == ["Conv2D", "BatchNorm", "Activation", "BatchNorm", "Dropout"]
    assert kinds[-1] == "GlobalAveragePooling2D"


def test_a_new_residual_block_passes_its_shortcut_on() -> None:
    spec = {**EFFICIENT, "stem": 0, "stages": [{"width": 24, "depth": 1, "block": "basic"}], "activation": "relu"}
    built = build("random", {"spec": spec})
    stem = next(layer for layer in built.layers if isinstance(layer, keras.layers.Activation))
    both = keras.Model(built.input, [stem.output, built.get_layer(CAM_LAYER).output])
    before, after = both.predict(np.random.default_rng(0).uniform(-1, 1, (2, 48, 48, 1)), verbose=0)
    np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("other", {}, "unknown model 'other'; known: mini_xception, random, residual"),
        ("random", {}, "model 'random': .*spec"),
        ("random", {"spec": {"space": "efficient"}}, "spec of space efficient: .*dropout: "),
    ],
)
def test_a_model_that_cannot_be_built_is_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, arguments)
