"""Architectures, in pure Keras 3: the same code trains on TensorFlow, JAX or PyTorch.

Every model maps faces float32 [N, 48, 48, 1] in [-1, 1] to logits float32 [N, 7]; softmax is applied at export. The
layer called `cam` is the feature map that Grad-CAM explains.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers, regularizers

from faces.contract import CLASSES, SIDE
from trainer.errors import ConfigError
from trainer.networks.layers import BatchNorm, MaxPool
from trainer.networks.spec import ArchitectureSpec, PlainSpec, ResidualSpec, Stage, from_json

CAM_LAYER = "cam"


def every_second(x: Any) -> Any:
    """Every second row and column of [N, H, W, C].

    A 1x1 convolution of these is a 1x1 convolution with stride 2. That one corrupts the heap while it trains on AVX-512
    processors of AMD's: oneDNN's float32 kernel, which TensorFlow and PyTorch share.
    """
    return layers.MaxPooling2D(1, strides=2)(x)


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
        shortcut = layers.Conv2D(width, 1, kernel_regularizer=penalty, **conv)(every_second(x))
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


def mini_xception(*, l2: float = 0.01) -> keras.Model:
    """mini-Xception (Arriaga et al. 2017), the reference that the tutorial's network grew from.

    Two plain 3x3 convolutions of 8, four blocks of separable convolutions (16, 32, 64, 128) with 1x1 stride-2
    shortcuts, then a 3x3 convolution to the classes and global average pooling. "same" padding throughout.

    Args:
        l2: weight of the L2 penalty on the first convolutions and the separable kernels.
    """
    penalty = regularizers.L2(l2) if l2 else None
    conv = {"padding": "same", "use_bias": False}
    separable = {**conv, "depthwise_regularizer": penalty, "pointwise_regularizer": penalty}

    faces = layers.Input((SIDE, SIDE, 1), name="faces")
    x = faces
    for _ in range(2):
        x = layers.Conv2D(8, 3, kernel_regularizer=penalty, **conv)(x)
        x = layers.ReLU()(BatchNorm()(x))
    for index, width in enumerate((16, 32, 64, 128)):
        shortcut = BatchNorm()(layers.Conv2D(width, 1, **conv)(every_second(x)))
        x = layers.ReLU()(BatchNorm()(layers.SeparableConv2D(width, 3, **separable)(x)))
        x = BatchNorm()(layers.SeparableConv2D(width, 3, **separable)(x))
        x = layers.Add(name=CAM_LAYER if index == 2 else None)([MaxPool()(x), shortcut])
    x = layers.Conv2D(len(CLASSES), 3, padding="same")(x)
    logits = layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)
    return keras.Model(faces, logits, name="mini_xception")


def random(*, spec: Mapping[str, Any] | ArchitectureSpec) -> keras.Model:
    """The network that an `ArchitectureSpec`, or its JSON, describes.

    Raises:
        ConfigError: the spec is not valid, or its maps shrink to nothing.
    """
    parsed = from_json(spec) if isinstance(spec, Mapping) else spec
    return plain(parsed) if isinstance(parsed, PlainSpec) else residual_stages(parsed)


def plain(spec: PlainSpec) -> keras.Model:
    """A network of the tutorial's space (see `PlainSpec`)."""
    faces = layers.Input((SIDE, SIDE, 1), name="faces")
    x = faces
    for module in spec.modules:
        if min(x.shape[1:3]) < module.kernel:
            raise ConfigError(f"spec: kernel {module.kernel} on a map of side {x.shape[1]}")
        x = layers.Conv2D(module.filters, module.kernel, strides=module.stride, use_bias=module.bias)(x)
        if module.norm_before:
            x = BatchNorm()(x)
        x = layers.Activation(module.activation)(x)
        if module.norm_after:
            x = BatchNorm()(x)
        if module.dropout:
            x = layers.Dropout(module.dropout)(x)
    if min(x.shape[1:3]) < 3:
        raise ConfigError(f"spec: head: kernel 3 on a map of side {x.shape[1]}")
    x = layers.Identity(name=CAM_LAYER)(x)
    x = layers.Conv2D(len(CLASSES), 3)(x)
    pool = layers.GlobalAveragePooling2D if spec.pooling == "average" else layers.GlobalMaxPooling2D
    return keras.Model(faces, pool(dtype="float32", name="logits")(x), name="random")


def residual_stages(spec: ResidualSpec) -> keras.Model:
    """A network of the efficient space (see `ResidualSpec`)."""

    def conv(x: Any, width: int, kernel: int, strides: int = 1, gamma: str = "ones") -> Any:
        x = layers.Conv2D(width, kernel, strides=strides, padding="same", use_bias=False)(x)
        return BatchNorm(gamma_initializer=gamma)(x)

    def act(x: Any) -> Any:
        return layers.Activation(spec.activation)(x)

    def gate(x: Any, width: int) -> Any:
        squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
        squeezed = layers.Conv2D(max(4, width // spec.squeeze), 1, activation="relu")(squeezed)
        return layers.Multiply()([x, layers.Conv2D(width, 1, activation="sigmoid")(squeezed)])

    def block(x: Any, stage: Stage, strides: int, name: str | None) -> Any:
        shortcut = layers.AveragePooling2D(strides)(x) if strides > 1 else x
        if shortcut.shape[-1] != stage.width:
            shortcut = conv(shortcut, stage.width, 1)
        # The last normalisation starts at zero, so that a block starts as its shortcut (Goyal et al. 2017, 5.1).
        if stage.block == "basic":
            x = act(conv(x, stage.width, 3, strides))
            x = conv(x, stage.width, 3, gamma="zeros")
        else:
            x = act(conv(x, stage.width // 2, 1))
            x = act(conv(x, stage.width // 2, 3, strides))
            x = conv(x, stage.width, 1, gamma="zeros")
        if spec.squeeze:
            x = gate(x, stage.width)
        return layers.Activation(spec.activation, name=name)(layers.Add()([x, shortcut]))

    faces = layers.Input((SIDE, SIDE, 1), name="faces")
    x = act(conv(faces, spec.stem, 3)) if spec.stem else faces
    x = act(conv(x, spec.stages[0].width, 3, strides=2))
    # Maps of 6x6 explain best: coarser ones cannot tell mouth from brow. Fewer stages end on finer maps.
    explained = min(2, len(spec.stages) - 1)
    for index, stage in enumerate(spec.stages):
        for number in range(stage.depth):
            last = index == explained and number == stage.depth - 1
            strides = 2 if index > 0 and number == 0 else 1
            x = block(x, stage, strides, CAM_LAYER if last else None)
    x = layers.GlobalAveragePooling2D()(x)
    if spec.dropout:
        x = layers.Dropout(spec.dropout)(x)
    logits = layers.Dense(len(CLASSES), dtype="float32", name="logits")(x)
    return keras.Model(faces, logits, name="random")


MODELS: dict[str, Callable[..., keras.Model]] = {
    "residual": residual,
    "mini_xception": mini_xception,
    "random": random,
}


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers that compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build(name: str, arguments: dict[str, Any]) -> keras.Model:
    """Build the model called `name`.

    Raises:
        ConfigError: no such model, or an argument that it does not take.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}")
    try:
        return MODELS[name](**arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"model {name!r}: {error}") from error
