import keras
import numpy as np
import pytest

from trainer.models import CAM_LAYER, residual


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
