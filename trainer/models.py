"""Architectures, in pure Keras 3: the same code trains on TensorFlow, JAX or PyTorch.

Every model maps faces float32 [N, 48, 48, 1] in [-1, 1] to logits float32 [N, 7]; softmax is applied at export. The
layer called `cam` is the feature map that Grad-CAM explains.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, regularizers

from trainer.data import CLASSES, SIDE
from trainer.errors import ConfigError
from trainer.layers import BatchNorm, MaxPool

CAM_LAYER = "cam"


def residual(
    *,
    l2: float = 0.01,
    dropout: float = 0.3,
    head_dropout: float = 0.3,
    filters: tuple[int, ...] = (16, 32, 64, 128, 256),
) -> keras.Model:
    """The tutorial's Xception-like residual CNN.

    Conv 8, then one block for each entry of `filters` (two separable 3x3 convolutions, max pooling, a 1x1 stride-2
    shortcut), global average pooling and a three-layer head.

    Args:
        l2: weight of the L2 penalty on every convolution and dense kernel.
        dropout: rate after each block.
        head_dropout: rate after each hidden dense layer.
        filters: channels of each block.
    """
    penalty = regularizers.L2(l2) if l2 else None
    conv = {"padding": "same", "use_bias": False}
    separable = {**conv, "depthwise_regularizer": penalty, "pointwise_regularizer": penalty}

    faces = layers.Input((SIDE, SIDE, 1), name="faces")
    x = layers.Conv2D(8, 3, kernel_regularizer=penalty, **conv)(faces)
    x = BatchNorm()(x)
    x = layers.ReLU()(x)
    for index, width in enumerate(filters):
        shortcut = layers.Conv2D(width, 1, strides=2, kernel_regularizer=penalty, **conv)(x)
        shortcut = BatchNorm()(shortcut)
        x = layers.SeparableConv2D(width, 3, **separable)(x)
        x = BatchNorm()(x)
        x = layers.ReLU()(x)
        x = layers.SeparableConv2D(width, 3, **separable)(x)
        x = BatchNorm()(x)
        x = MaxPool()(x)
        # The last blocks' maps are 3x3 and 2x2, too coarse to point at a mouth or a brow; the third's is 6x6.
        x = layers.Add(name=CAM_LAYER if index == min(2, len(filters) - 1) else None)([x, shortcut])
        x = layers.Dropout(dropout)(x)
    x = layers.GlobalAveragePooling2D()(x)
    for width in (128, 64, 32):
        x = layers.Dense(width, activation="relu", kernel_regularizer=penalty)(x)
        x = layers.Dropout(head_dropout)(x)
    # Linear, where the tutorial has a ReLU before the softmax: a class whose logit falls below zero on every face
    # would get no gradient any more and stay at exp(0) for good.
    logits = layers.Dense(len(CLASSES), kernel_regularizer=penalty, dtype="float32", name="logits")(x)
    return keras.Model(faces, logits, name="residual")


MODELS: dict[str, Callable[..., keras.Model]] = {"residual": residual}


def build(name: str, arguments: dict[str, Any]) -> keras.Model:
    """Build the model called `name`.

    Raises:
        ConfigError: no such model, or an argument that it does not take.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    try:
        return MODELS[name](**arguments)
    except TypeError as error:
        raise ConfigError(f"model {name!r}: {error}") from error
