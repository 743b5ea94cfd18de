"""NumPy arrays to TensorProto and back, and the checks that make a model server's answer trustworthy."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from api.errors import BadModelAnswer
from faces.contract import SIDE
from wire import serving_pb2 as pb

_SUM_TOLERANCE = 1e-3


def from_array(array: NDArray[np.float32]) -> pb.TensorProto:
    """A float32 array as TensorProto; `tensor_content` is one copy of the buffer, not a varint per number."""
    dims = [pb.TensorShapeProto.Dim(size=size) for size in array.shape]
    return pb.TensorProto(
        dtype=pb.DT_FLOAT,
        tensor_shape=pb.TensorShapeProto(dim=dims),
        # The wire format is little-endian, whatever this machine is.
        tensor_content=array.astype("<f4", copy=False).tobytes(),
    )


def to_scores(tensor: pb.TensorProto, faces: int) -> NDArray[np.float32]:
    """The output `scores` as float32 [faces, C], each row a probability distribution.

    Raises:
        BadModelAnswer: when it is anything else.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype != pb.DT_FLOAT or len(shape) != 2 or shape[0] != faces or shape[1] < 1:
        raise BadModelAnswer(f"scores should be float [{faces}, classes]; got dtype {tensor.dtype}, shape {shape}.")
    scores = _floats("scores", tensor, shape)
    if not np.isfinite(scores).all():
        raise BadModelAnswer("scores holds a NaN or an infinity.")
    if (scores < 0).any() or (np.abs(scores.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        raise BadModelAnswer("a row of scores is not a probability distribution.")
    return scores


def to_thresholds(tensor: pb.TensorProto, faces: int) -> NDArray[np.float32]:
    """The output `unclear_below` as float32 [faces], each a probability.

    Raises:
        BadModelAnswer: when it is anything else.
    """
    thresholds = _floats("unclear_below", tensor, (faces,))
    # Written so that NaN fails too.
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise BadModelAnswer("unclear_below holds what is no probability.")
    return thresholds


def to_heatmaps(tensor: pb.TensorProto, faces: int) -> NDArray[np.float32]:
    """The output `heatmap` as float32 [faces, 48, 48], each value in [0, 1].

    Raises:
        BadModelAnswer: when it is anything else.
    """
    values = _floats("heatmap", tensor, (faces, SIDE, SIDE))
    # Written so that NaN fails, too.
    if not ((values >= -1e-3) & (values <= 1 + 1e-3)).all():
        raise BadModelAnswer("heatmap holds what is not in [0, 1].")
    return values


def _floats(name: str, tensor: pb.TensorProto, expected: tuple[int, ...]) -> NDArray[np.float32]:
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype != pb.DT_FLOAT or shape != expected:
        raise BadModelAnswer(f"{name} should be float {list(expected)}; got dtype {tensor.dtype}, shape {shape}.")
    # TF Serving fills float_val; tensor_content is as legal and what tf.make_tensor_proto writes.
    if len(tensor.tensor_content) % 4:
        raise BadModelAnswer(f"{name} has {len(tensor.tensor_content)} bytes, which are no float32 numbers.")
    values = (
        np.frombuffer(tensor.tensor_content, "<f4")
        if tensor.tensor_content
        else np.asarray(tensor.float_val, np.float32)
    )
    if values.size != prod(shape):
        raise BadModelAnswer(f"{name} has {values.size} values for shape {shape}.")
    return values.reshape(shape)


def to_classes(tensor: pb.TensorProto) -> tuple[str, ...]:
    """The output `classes`, string [N, C], as the C names of its first row.

    Raises:
        BadModelAnswer: when it is anything else.
    """
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    expected = shape[0] * shape[1] if len(shape) == 2 else 0
    if tensor.dtype != pb.DT_STRING or not expected or len(tensor.string_val) != expected:
        raise BadModelAnswer(f"classes should be string [N, classes]; got dtype {tensor.dtype}, shape {shape}.")
    try:
        names = tuple(name.decode() for name in tensor.string_val[: shape[1]])
    except UnicodeDecodeError as error:
        raise BadModelAnswer("classes holds a name that is not UTF-8.") from error
    if len(set(names)) != len(names):
        raise BadModelAnswer(f"classes repeats a name: {', '.join(names)}.")
    return names
