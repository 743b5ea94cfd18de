"""One file for devices: ONNX for onnxruntime (browsers, servers), LiteRT for phones. Needs TensorFlow.

Scores only: neither has strings, and a heat map needs gradients, which neither computes.
"""

import json
import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from faces.contract import CLASSES, SIDE
from trainer.ensemble.combination import Combination
from trainer.errors import ExportError
from trainer.evaluation.predictor import SavedModelPredictor
from trainer.export.graph import Servable
from trainer.export.version import TOLERANCE, TOLERANCE_HALF
from trainer.files import replacing
from trainer.networks.scores import Scorer

OPSET = 17
"""Of ONNX 1.12: onnxruntime 1.12 (2022) and newer read it."""


class Format(StrEnum):
    ONNX = "onnx"
    LITERT = "litert"


# faces float32 [N, 48, 48, 1] in [-1, 1] -> scores float32 [N, C].
Scores = Callable[[tf.Tensor], tf.Tensor]


def write_portable(source: Combination | Path, path: Path, form: Format, *, half: bool = False) -> float:
    """Write one file that scores faces as `source` does.

    Args:
        source: trained networks, or a version's directory in a model repository.
        path: the file; replaced at the end, and only by one that was run and compared.
        form: `onnx` takes `faces` float32 [N, 48, 48, 1] in [-1, 1] and gives `scores` float32 [N, C], with the classes
            as JSON in the metadata. `litert` does so for one face, N = 1: its ops hold no batch of unknown size.
        half: kernels as float16 (LiteRT alone): half the size, scores within 0.01.

    Returns:
        The largest difference of a score between the file and its source.

    Raises:
        ExportError: a package is missing, the file scores otherwise, or it cannot be written.
        TrainerError: the directory is no version of the model contract.
    """
    if half and form is Format.ONNX:
        raise ExportError("--half is for LiteRT; onnxconverter-common makes a float16 ONNX file of this one")
    scores, reference = _scorers(source)
    frozen = _freeze(scores, form)
    convert, run = (_onnx, _run_onnx) if form is Format.ONNX else (_litert, _run_litert)
    faces = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 1)).astype(np.float32)
    try:
        content = convert(frozen, half)
        found = run(content, faces)
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed; '.[portable]' has it") from error
    difference = float(np.abs(found - reference(faces)).max())
    # Written so that NaN fails too.
    if not difference < (TOLERANCE_HALF if half else TOLERANCE):
        raise ExportError(f"{path}: its scores differ from the model's by {difference:.2g}; nothing was written")
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error}") from error
    return difference


def _scorers(source: Combination | Path) -> tuple[Scores, Scorer]:
    """What is converted, and what it is compared with."""
    if isinstance(source, Combination):
        servable = Servable(source)
        return lambda faces: servable.predict(faces)["scores"], source.scores
    predictor = SavedModelPredictor(source)
    return lambda faces: predictor.signature(faces=faces)["scores"], predictor.scores


def _freeze(scores: Scores, form: Format) -> Any:
    """The concrete function with its variables as constants."""
    count = None if form is Format.ONNX else 1
    spec = tf.TensorSpec((count, SIDE, SIDE, 1), tf.float32, name="faces")
    named = tf.function(lambda faces: tf.identity(scores(faces), name="scores"), input_signature=[spec])
    return convert_variables_to_constants_v2(named.get_concrete_function())


def _onnx(frozen: Any, half: bool) -> bytes:
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    taken, given = frozen.inputs[0].name, frozen.outputs[0].name
    graph, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[taken],
        output_names=[given],
        opset=OPSET,
        tensors_to_rename={taken: "faces", given: "scores"},
    )
    onnx.helper.set_model_props(graph, {"classes": json.dumps(CLASSES)})
    onnx.checker.check_model(graph)
    content: bytes = graph.SerializeToString()
    return content


def _run_onnx(content: bytes, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    scores: NDArray[np.float32] = session.run(["scores"], {"faces": faces})[0]
    return scores


def _litert(frozen: Any, half: bool) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if half:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    content: bytes = converter.convert()
    return content


def _run_litert(content: bytes, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    scores = []
    for face in faces:
        interpreter.set_tensor(taken, face[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(given)[0])
    return np.stack(scores)
