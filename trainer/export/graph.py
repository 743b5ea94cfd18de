"""The model contract as a TensorFlow graph: both signatures and the warm-up requests. Needs Keras on TensorFlow."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from faces.contract import CLASSES, SIDE
from trainer.ensemble.combination import Combination, Member
from trainer.ensemble.weights import TINY
from trainer.networks.networks import CAM_LAYER

WARMUP_BATCHES = (1, 8, 64)


class ServedMember(tf.Module):  # type: ignore[misc]
    """One member of a combination with variables of its own.

    Args:
        member: the model, its weight, and whether it looks at the mirrored face too.
        half: keep kernels as float16 and cast them to float32 in the graph: half the size for scores that differ in
            the third decimal or later. Biases and normalisations are small and stay float32.
    """

    def __init__(self, member: Member, half: bool) -> None:
        super().__init__()
        self.share = member.weight
        self.flip = member.flip
        model = keras.Model(member.model.input, [member.model.get_layer(CAM_LAYER).output, member.model.output])
        trainable = [_variable(weight.value, half) for weight in model.trainable_variables]
        # Dropout's random states are integers and idle in inference: constants, which the graph then drops.
        states = [
            _variable(weight.value, half)
            if weight.dtype.startswith("float")
            else tf.constant(keras.ops.convert_to_numpy(weight))
            for weight in model.non_trainable_variables
        ]
        self.weights = [*trainable, *(state for state in states if isinstance(state, tf.Variable))]

        def call(faces: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            (maps, logits), _ = model.stateless_call(
                [_float32(value) for value in trainable], [_float32(value) for value in states], faces, training=False
            )
            return maps, tf.cast(logits, tf.float32)

        # Behind a function: TensorFlow follows attributes to find what to save, and a Keras model among them would
        # add every layer's graph and its variables a second time.
        self._call: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] = call

    def __call__(self, faces: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """faces [N, 48, 48, 1] -> maps [V*N, h, w, k], logits [V*N, C]; V = 2 where it flips, mirrored faces last."""
        return self._call(tf.concat([faces, tf.reverse(faces, [2])], axis=0) if self.flip else faces)

    def views(self, values: tf.Tensor) -> tf.Tensor:
        """[V*N, ...] -> [V, N, ...]."""
        return tf.stack(tf.split(values, 2)) if self.flip else values[None]

    def scores(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits [V*N, C] -> scores [N, C]."""
        return tf.reduce_mean(self.views(tf.nn.softmax(logits)), axis=0)

    def heat(self, maps: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """Maps and their gradients [V*N, h, w, k] -> [N, 48, 48] in [0, 1], the mirrored face's mirrored back."""
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=3, keepdims=True))
        heat = _normalized(tf.squeeze(tf.image.resize(heat, (SIDE, SIDE)), axis=3))
        views = self.views(heat)
        return (views[0] + tf.reverse(views[1], [2])) / 2 if self.flip else views[0]


class Servable(tf.Module):  # type: ignore[misc]
    """A combination of trained models behind the contract's two signatures.

    Args:
        combination: the models, with weights that sum to 1, and the temperature.
        half: store kernels as float16, see `ServedMember`.
    """

    def __init__(self, combination: Combination, *, half: bool = False) -> None:
        super().__init__()
        self.members = [ServedMember(member, half) for member in combination.members]
        self._temperature = combination.temperature
        self._classes = tf.constant(CLASSES)

    def _combined(self, scores: list[tf.Tensor]) -> tf.Tensor:
        mean = tf.add_n([member.share * each for member, each in zip(self.members, scores, strict=True)])
        return tf.nn.softmax(tf.math.log(tf.maximum(mean, TINY)) / self._temperature)

    def predict(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        """faces float32 [N, 48, 48, 1] -> scores float32 [N, C], classes string [N, C]."""
        padded = _at_least_one(faces)
        scores = self._combined([member.scores(member(padded)[1]) for member in self.members])[: tf.shape(faces)[0]]
        # [N, C] and not [C]: the server's batching splits every output along dimension 0.
        return {"scores": scores, "classes": tf.broadcast_to(self._classes, tf.shape(scores))}

    def explain(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        """faces float32 [N, 48, 48, 1] -> scores [N, C], heatmap float32 [N, 48, 48] in [0, 1].

        Grad-CAM of the combination's top class (Selvaraju et al. 2017, equations 1 and 2): a member's feature maps
        weighted by the mean gradient of that class's logit, rectified, and scaled so that each face's largest value is
        1. Several members' heatmaps are averaged by their weights and scaled again. All zero where no map speaks for
        the class.
        """
        with tf.GradientTape() as tape:
            padded = _at_least_one(faces)
            tape.watch(padded)
            outputs = [member(padded) for member in self.members]
            scores = self._combined(
                [member.scores(logits) for member, (_, logits) in zip(self.members, outputs, strict=True)]
            )
            top = tf.one_hot(tf.argmax(scores, axis=1), scores.shape[1])
            # Each map feeds one face's logits of one member, so that the gradient of the sum is each one's own.
            target = tf.add_n(
                [
                    tf.reduce_sum(member.views(logits) * top)
                    for member, (_, logits) in zip(self.members, outputs, strict=True)
                ]
            )
        maps = [each for each, _ in outputs]
        gradients = tape.gradient(target, maps)
        heat = tf.add_n(
            [
                member.share * member.heat(each, gradient)
                for member, each, gradient in zip(self.members, maps, gradients, strict=True)
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
