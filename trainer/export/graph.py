"""The model contract as a TensorFlow graph: both signatures and the warm-up requests. Needs Keras on TensorFlow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from faces.contract import CLASSES, SIDE
from trainer.ensemble.combination import Combination, Member
from trainer.networks.scores import VIEWS, apart, to_numpy

WARMUP_BATCHES = (1, 8, 64)


class Servable(tf.Module):  # type: ignore[misc]
    """A combination of trained networks behind the contract's two signatures, with variables of its own.

    Args:
        half: keep kernels as float16 and cast them to float32 in the graph: half the size for scores that differ in
            the third decimal or later. Biases and normalisations are small and stay float32.
    """

    def __init__(self, combination: Combination, *, half: bool = False) -> None:
        super().__init__()
        network = combination.network
        trainable = [_variable(weight.value, half) for weight in network.trainable_variables]
        # Dropout's random states are integers and idle in inference: constants, which the graph then drops.
        states = [
            _variable(weight.value, half) if weight.dtype.startswith("float") else tf.constant(to_numpy(weight))
            for weight in network.non_trainable_variables
        ]
        self.weights = [*trainable, *(state for state in states if isinstance(state, tf.Variable))]
        self._classes = tf.constant(CLASSES)
        self._unclear_below = combination.unclear_below

        def call(faces: tf.Tensor) -> dict[str, Any]:
            outputs: dict[str, Any]
            outputs, _ = network.stateless_call(
                [_float32(value) for value in trainable], [_float32(value) for value in states], faces, training=False
            )
            return outputs

        # Behind functions: TensorFlow follows attributes to find what to save, and a Keras model among them would add
        # every layer's graph and its variables a second time.
        self._call: Callable[[tf.Tensor], dict[str, Any]] = call
        self._members: Callable[[], Sequence[Member]] = lambda: combination.members

    def predict(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        """faces float32 [N, 48, 48, 1] -> scores float32 [N, C], classes string [N, C].

        And `unclear_below` float32 [N], the same number for every face, where the combination has one.
        """
        scores = self._call(_at_least_one(faces))["scores"][: tf.shape(faces)[0]]
        # [N, C] and not [C]: the server's batching splits every output along dimension 0.
        outputs = {"scores": scores, "classes": tf.broadcast_to(self._classes, tf.shape(scores))}
        if self._unclear_below is not None:
            outputs["unclear_below"] = tf.fill(tf.shape(scores)[:1], np.float32(self._unclear_below))
        return outputs

    def explain(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        """faces float32 [N, 48, 48, 1] -> scores [N, C], heatmap float32 [N, 48, 48] in [0, 1].

        Grad-CAM of the combination's top class (Selvaraju et al. 2017, equations 1 and 2): a member's feature maps
        weighted by the mean gradient of that class's logit, rectified, and scaled so that each face's largest value is
        1. Several members' heatmaps are averaged by their weights and scaled again. All zero where no map speaks for
        the class.
        """
        padded = _at_least_one(faces)
        with tf.GradientTape() as tape:
            tape.watch(padded)
            outputs = self._call(padded)
            scores = outputs["scores"]
            top = tf.one_hot(tf.argmax(scores, axis=1), scores.shape[1])
            # Each map feeds one face's logits of one member, so that the gradient of the sum is each one's own.
            target = tf.add_n([tf.reduce_sum(logits * top) for logits in outputs["logits"]])
        gradients = tape.gradient(target, outputs["maps"])
        heat = tf.add_n(
            [
                member.weight * _heat(maps, gradient, member.views)
                for member, maps, gradient in zip(self._members(), outputs["maps"], gradients, strict=True)
            ]
        )
        count = tf.shape(faces)[0]
        return {"scores": scores[:count], "heatmap": _normalized(heat)[:count]}

    def save(self, directory: Path) -> None:
        """Write the SavedModel, both signatures, to `directory`."""
        spec = tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32, name="faces")
        signatures = {
            "serving_default": tf.function(self.predict, input_signature=[spec]),
            "explain": tf.function(self.explain, input_signature=[spec]),
        }
        tf.saved_model.save(self, str(directory), signatures=signatures)


def write_warmup(directory: Path, name: str) -> None:
    """Write `assets.extra/tf_serving_warmup_requests`: a few batch sizes through each signature.

    A server replays them before a version is AVAILABLE, so that no user pays for the first run of a graph.
    """
    extra = directory / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for signature, batches in (("serving_default", WARMUP_BATCHES), ("explain", WARMUP_BATCHES[:1])):
            for batch in batches:
                # One value stands for all of them: a TensorProto repeats its last value up to the shape.
                faces = tf.make_tensor_proto(0.0, tf.float32, (batch, SIDE, SIDE, 1))
                request = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(name=name, signature_name=signature),
                    inputs={"faces": faces},
                )
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())


def _heat(maps: tf.Tensor, gradients: tf.Tensor, views: tuple[str, ...]) -> tf.Tensor:
    """Maps and their gradients [V * N, h, w, k] -> [N, 48, 48] in [0, 1], the mean over the views, each laid back."""
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=3, keepdims=True))
    seen = apart(_normalized(tf.squeeze(tf.image.resize(heat, (SIDE, SIDE)), axis=3)), views)
    restored = [VIEWS[view].restore(each) for view, each in zip(views, tf.unstack(seen), strict=True)]
    return tf.add_n(restored) / len(views)


def _variable(value: tf.Tensor, half: bool) -> tf.Variable:
    return tf.Variable(tf.cast(value, tf.float16) if half and len(value.shape) > 1 else value)


def _float32(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.float32) if value.dtype == tf.float16 else tf.convert_to_tensor(value)


def _at_least_one(faces: tf.Tensor) -> tf.Tensor:
    """[N, 48, 48, 1] -> [max(N, 1), 48, 48, 1]: oneDNN's convolutions (TensorFlow 2.21) fail on an empty batch."""
    missing = tf.maximum(0, 1 - tf.shape(faces)[0])
    return tf.ensure_shape(tf.pad(faces, [[0, missing], [0, 0], [0, 0], [0, 0]]), faces.shape)


def _normalized(heat: tf.Tensor) -> tf.Tensor:
    """[N, 48, 48] scaled so that each face's largest value is 1; zero stays zero."""
    return tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))
