"""What a model costs to run: parameters, multiply-accumulates, milliseconds."""

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from faces.contract import SIDE
from trainer.evaluation.predictor import SavedModelPredictor
from trainer.networks.scores import Scorer

WARM_UPS = 3


@dataclass(frozen=True)
class GraphCost:
    """Cost of one face, read off a graph."""

    # Elements of the variables that `serving_default` reads, moving averages included.
    parameters: int
    # Multiply-accumulates of convolutions and matrix products; all else is not counted. None where a shape depends on
    # more than the number of faces.
    macs: int | None

    @property
    def flops(self) -> int | None:
        """Two for each multiply-accumulate."""
        return None if self.macs is None else 2 * self.macs


@dataclass(frozen=True)
class Latency:
    """Median milliseconds from faces in memory to scores in memory."""

    # For one face.
    batch_1_ms: float
    # For 64 in one call.
    batch_64_ms: float
    # Calls that each median is taken over.
    runs: int


def graph_cost(predictor: SavedModelPredictor) -> GraphCost:
    """Cost of a SavedModel's `serving_default`.

    The graph is inlined and frozen first, so that every operation and shape that one face passes through is seen.
    Operations inside a loop that TensorFlow does not unroll count once.
    """
    face = tf.TensorSpec((1, SIDE, SIDE, 1), tf.float32)
    function = tf.function(lambda faces: predictor.signature(faces=faces), autograph=False).get_concrete_function(face)
    frozen = convert_variables_to_constants_v2(function)
    counts = [_macs(operation) for operation in frozen.graph.get_operations()]
    known = [count for count in counts if count is not None]
    return GraphCost(
        parameters=sum(math.prod(variable.shape) for variable in predictor.signature.variables),
        macs=sum(known) if len(known) == len(counts) else None,
    )


def latency(score: Scorer, *, runs: int = 50) -> Latency:
    """Time a model on random faces, after a few calls that are not counted.

    A server's includes the network. Of a SavedModel, TensorFlow uses the kernels and threads of this process.

    Raises:
        TrainerError: as `score`.
    """
    return Latency(_median_ms(score, 1, runs), _median_ms(score, 64, runs), runs)


def _median_ms(score: Scorer, batch: int, runs: int) -> float:
    faces = np.random.default_rng(0).uniform(-1, 1, (batch, SIDE, SIDE, 1)).astype(np.float32)
    seconds = []
    for _ in range(WARM_UPS + runs):
        start = time.perf_counter()
        score(faces)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UPS:])


def _macs(operation: Any) -> int | None:
    per_output: tuple[int | None, ...]
    match operation.type:
        case "Conv2D":
            height, width, channels, _ = operation.inputs[1].shape
            per_output = (height, width, channels)  # of one group, where the convolution has groups
        case "DepthwiseConv2dNative":
            height, width, _, _ = operation.inputs[1].shape
            per_output = (height, width)
        case "MatMul":
            per_output = (operation.inputs[0].shape[0 if operation.get_attr("transpose_a") else 1],)
        case "BatchMatMul" | "BatchMatMulV2":
            per_output = (operation.inputs[0].shape[-2 if operation.get_attr("adj_x") else -1],)
        case _:
            return 0
    output = operation.outputs[0].shape
    factors: tuple[Any, ...] = (None,) if output.rank is None else (*output, *per_output)
    return None if None in factors else math.prod(factors)
