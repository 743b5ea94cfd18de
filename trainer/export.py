"""Write a trained model as a version that TensorFlow Serving loads: the project's model contract."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from trainer.card import model_card
from trainer.data import CLASSES, SIDE
from trainer.errors import ExportError
from trainer.models import CAM_LAYER

WARMUP_BATCHES = (1, 8, 64)


class Servable(tf.Module):  # type: ignore[misc]
    """A trained model behind the contract's two signatures.

    Args:
        model: Keras model, faces [N, 48, 48, 1] -> logits [N, C], with a layer called `cam`.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.weights = [weight.value for weight in model.weights]
        with_map = keras.Model(model.input, [model.get_layer(CAM_LAYER).output, model.output])
        # Behind functions: TensorFlow follows attributes to find what to save, and a Keras model among them would
        # add every layer's graph and its variables a second time.
        self._logits: Callable[[tf.Tensor], tf.Tensor] = lambda faces: model(faces, training=False)
        self._with_map: Callable[[tf.Tensor], list[tf.Tensor]] = lambda faces: with_map(faces, training=False)
        self._classes = tf.constant(CLASSES)

    def _labels(self, scores: tf.Tensor) -> tf.Tensor:
        # [N, C] and not [C]: the server's batching splits every output along dimension 0.
        return tf.broadcast_to(self._classes, tf.shape(scores))

    def predict(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        """faces float32 [N, 48, 48, 1] -> scores float32 [N, C], classes string [N, C]."""
        scores = tf.nn.softmax(tf.cast(self._logits(faces), tf.float32))
        return {"scores": scores, "classes": self._labels(scores)}

    def explain(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        """faces float32 [N, 48, 48, 1] -> scores [N, C], heatmap float32 [N, 48, 48] in [0, 1].

        Grad-CAM of the top class (Selvaraju et al. 2017, equations 1 and 2): the feature maps weighted by the mean
        gradient of that class's logit, rectified. Scaled so that each face's largest value is 1; all zero where no
        map speaks for the class.
        """
        with tf.GradientTape() as tape:
            maps, logits = self._with_map(faces)
            # The tape must see the maps as the source, so the top logit is taken from what follows from them.
            top = tf.reduce_max(logits, axis=1)
        weights = tf.reduce_mean(tape.gradient(top, maps), axis=(1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=3, keepdims=True))
        heat = tf.squeeze(tf.image.resize(heat, (SIDE, SIDE)), axis=3)
        heat = tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))
        return {"scores": tf.nn.softmax(tf.cast(logits, tf.float32)), "heatmap": heat}

    def save(self, directory: Path) -> None:
        """Write the SavedModel, both signatures, to `directory`."""
        spec = tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32, name="faces")
        signatures = {
            "serving_default": tf.function(self.predict, input_signature=[spec]),
            "explain": tf.function(self.explain, input_signature=[spec]),
        }
        tf.saved_model.save(self, str(directory), signatures=signatures)


def export(model: keras.Model, name: str, repository: Path, facts: Mapping[str, Any]) -> Path:
    """Write `model` as the next free version of `name`.

    The version is built in a hidden sibling directory and renamed, so that a server that watches the repository finds
    it whole or not at all.

    Args:
        model: Keras model, faces -> logits.
        name: model name, a directory of the repository.
        repository: the model repository.
        facts: what metrics.json and the model card report: config, metrics, data, versions (see `trainer.card`).

    Returns:
        The new version's directory.

    Raises:
        ExportError: the SavedModel answers otherwise than the Keras model, or the repository cannot be written.
    """
    home = repository / name
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{home}: {error.strerror}") from error
    partial = home / f".partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        Servable(model).save(partial)
        _check(model, partial)
        write_warmup(partial, name)
        (partial / "metrics.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        while True:
            version = next_version(home)
            (partial / "README.md").write_text(model_card(name, version, facts), encoding="utf-8")
            try:
                # Fails rather than replaces where another export took the number in the meantime.
                return partial.rename(home / str(version))
            except OSError:
                if not (home / str(version)).exists():
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def next_version(home: Path) -> int:
    """One more than the largest version in a model's directory; versions only grow. 1 for an empty one."""
    return 1 + max((int(child.name) for child in home.iterdir() if child.name.isdecimal()), default=0)


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


def _check(model: keras.Model, directory: Path) -> None:
    faces = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 1)).astype(np.float32)
    served: NDArray[np.float32] = (
        tf.saved_model.load(str(directory)).signatures["serving_default"](faces=tf.constant(faces))["scores"].numpy()
    )
    expected = tf.nn.softmax(model(faces, training=False)).numpy()
    worst = float(np.abs(served - expected).max())
    if not worst < 1e-4:
        raise ExportError(f"the SavedModel's scores differ from the model's by {worst:.2g}; nothing was exported")
