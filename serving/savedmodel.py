"""One loaded version: its signatures, the checks on a request, the run, the warm-up."""

from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import ServingError, as_serving_error, failed_precondition, invalid_argument, not_found

SERVE_TAG = "serve"
DEFAULT_SIGNATURE = "serving_default"
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000  # TensorFlow Serving's limit

# tensorflow_model_server accepts up to 2 GiB. Here a request is decoded into Python memory, so the limit is what a
# large batch needs: 64 MiB hold 7,281 faces of 48x48 float32.
MAX_MESSAGE_BYTES = 64 * 2**20

# The thread that a call came on runs all of it. Handing parts of so small a network to others costs a tenth more of
# processor time; the cores have other calls to work on, and the gateway's detection.
_ON_ONE_THREAD = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)


class SavedModel:
    """A SavedModel in memory, ready to answer Predict. Safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Load `path` (tag "serve") and run its warm-up requests.

        Raises:
            ServingError: either fails; or what TensorFlow raises on a directory that is no SavedModel.
        """
        self.signature_defs = _read_signature_defs(path)
        # A session, as tensorflow_model_server has one: a function of tf.saved_model.load takes a millisecond more of
        # processor time per call, nearly as much as the network itself for a face.
        with tf.Graph().as_default():
            self._session = tf.compat.v1.Session(config=_ON_ONE_THREAD)
            tf.compat.v1.saved_model.load(self._session, [SERVE_TAG], str(path))
        self.warmup_records = self._warm_up(path / WARMUP_FILE)

    def predict(self, request: Any) -> dict[str, Any]:
        """Run a PredictRequest's inputs through its signature: output name -> TensorProto.

        The model_spec's name and version are not looked at, because routing has chosen this version already.

        Raises:
            ServingError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for inputs or an output_filter
                that do not fit the signature.
            tf.errors.OpError: it failed while it ran.
        """
        key = signature_name(request)
        definition = self.signature_defs.get(key)
        # TensorFlow's own, such as the one that initialises, are not for clients.
        if definition is None or key.startswith("__"):
            raise failed_precondition(f'Serving signature key "{key}" not found.')
        inputs = _decode_inputs(definition, request.inputs)
        wanted = _output_names(definition, request.output_filter)
        feeds = {definition.inputs[name].name: array for name, array in inputs.items()}
        # All of them, whatever is wanted: for another choice the session would prepare the graph anew, up to seconds.
        outputs = self._session.run({name: output.name for name, output in definition.outputs.items()}, feeds)
        return {name: tf.make_tensor_proto(outputs[name]) for name in wanted}

    def _warm_up(self, path: Path) -> int:
        if not path.exists():
            return 0
        count = 0
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                count += 1
                if count > MAX_WARMUP_RECORDS:
                    raise invalid_argument(f"there are more than {MAX_WARMUP_RECORDS}")
                log = prediction_log_pb2.PredictionLog.FromString(record)
                if (kind := log.WhichOneof("log_type")) != "predict_log":
                    raise ServingError(f"only predict_log is supported, got {kind}", StatusCode.UNIMPLEMENTED)
                self.predict(log.predict_log.request)
        except DecodeError as error:
            raise invalid_argument(f"warm-up record {count} of {path} is no PredictionLog") from error
        except (tf.errors.OpError, ServingError) as error:
            failure = as_serving_error(error)
            raise ServingError(f"warm-up record {count} of {path} failed: {failure}", failure.code) from error
        return count


def signature_name(request: Any) -> str:
    """The signature that a PredictRequest asks for."""
    return request.model_spec.signature_name or DEFAULT_SIGNATURE


def _read_signature_defs(path: Path) -> dict[str, Any]:
    # tf.saved_model.load keeps the functions but not the SignatureDefs, and GetModelMetadata has to return those.
    file = path / "saved_model.pb"
    try:
        proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except FileNotFoundError as error:
        raise not_found(f"Could not find SavedModel .pb at supplied export directory path: {path}") from error
    except OSError as error:
        raise ServingError(f"cannot read {file}: {error}", StatusCode.UNAVAILABLE) from error
    except DecodeError as error:
        raise ServingError(f"Can't parse {file} as binary proto", StatusCode.DATA_LOSS) from error
    for graph in proto.meta_graphs:
        if set(graph.meta_info_def.tags) == {SERVE_TAG}:
            return dict(graph.signature_def)
    raise not_found(f"Could not find meta graph def matching supplied tags: {{ {SERVE_TAG} }} in {path}")


def _decode_inputs(definition: Any, protos: Any) -> dict[str, Any]:
    if set(protos) != set(definition.inputs):
        expected, sent = set(definition.inputs), set(protos)
        raise invalid_argument(
            f"inputs do not match the signature: expected {_names(expected)}, sent {_names(sent)}. "
            f"Sent extra: {_names(sent - expected)}. Missing but required: {_names(expected - sent)}."
        )
    return {name: _decode_input(name, protos[name], info) for name, info in definition.inputs.items()}


def _decode_input(name: str, proto: Any, info: Any) -> Any:
    expected, wanted = tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype)
    try:
        shape, dtype = tf.TensorShape(proto.tensor_shape), tf.dtypes.as_dtype(proto.dtype)
    except (TypeError, ValueError) as error:
        raise invalid_argument(f'input "{name}": {error}') from error
    if dtype != wanted:
        raise invalid_argument(f'input "{name}" is {dtype.name}, expected {wanted.name}')
    if not shape.is_fully_defined() or not shape.is_compatible_with(expected):
        raise invalid_argument(f'input "{name}" has shape {shape}, expected {expected}')
    # A few repeated values may stand for a whole tensor (TensorProto repeats the last one), so the size claimed is not
    # bounded by the size received.
    size = shape.num_elements() * wanted.size
    if size > MAX_MESSAGE_BYTES:
        raise invalid_argument(f'input "{name}" has {size} bytes, the limit is {MAX_MESSAGE_BYTES}')
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise invalid_argument(f'input "{name}" does not hold the values its shape needs: {error}') from error


def _output_names(definition: Any, output_filter: Any) -> list[str]:
    names = list(output_filter)
    for name in names:
        if name not in definition.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_names(set(definition.outputs))}."
            )
        if names.count(name) > 1:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
    return names or list(definition.outputs)


def _names(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
