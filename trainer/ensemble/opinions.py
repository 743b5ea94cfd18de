"""What somebody else's network, an ONNX classifier of faces, makes of each face, kept for trainings to come.

An opinions file (.npz) holds `logits` float16 [N, V, C], `digest` bytes [N] (the first 16 hex digits of the SHA-256 of
each face's 2,304 bytes) and `views` text [V]: `clean`, and `mirrored` where the teacher saw that too. Faces are found
by digest, so that the order of the data, and what else they hold, do not matter.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES
from trainer.errors import ConfigError, TrainingError
from trainer.files import BROKEN_ARRAYS, open_arrays, reason, replacing, sha256
from trainer.networks.scores import softmax

VIEWS = ("clean", "mirrored")
_BATCH = 32
_SAVE_S = 30.0

Progress = Callable[[int], None]
"""Told how many more faces have an opinion."""


@dataclass(frozen=True)
class Opinions:
    """What an opinions file holds."""

    # float16 [N, V, C].
    logits: NDArray[np.float16]
    # Bytes [N], see `digests`.
    digest: NDArray[np.bytes_]

    def probabilities(self, images: NDArray[np.uint8], views: int, temperature: float) -> NDArray[np.float32]:
        """softmax(logits / temperature) of each image, averaged over the first `views` views.

        Args:
            images: uint8 [N, 48, 48].

        Returns:
            float32 [N, C], rows summing to 1.

        Raises:
            ConfigError: some images have no opinion (their number is named), or there are fewer views.
        """
        if views > self.logits.shape[1]:
            raise ConfigError(f"the opinions are of {self.logits.shape[1]} view(s); set distill.views=1")
        rows = {digest: row for row, digest in enumerate(self.digest.tolist())}
        index = [rows.get(digest, -1) for digest in digests(images).tolist()]
        if missing := index.count(-1):
            raise ConfigError(f"{missing:,} of {len(images):,} faces have no opinion; make them of the same data")
        mean: NDArray[np.float32] = softmax(self.logits[index, :views].astype(np.float32), temperature).mean(axis=1)
        return mean


def digests(images: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """The first 16 hex digits of the SHA-256 of each image's pixels: uint8 [N, H, W] -> bytes [N]."""
    return np.array([hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images], "S16")


def read_opinions(path: Path) -> Opinions:
    """Read an opinions file.

    Raises:
        ConfigError: it is missing or damaged, lacks an array, or one has another shape or kind, another number of
            classes than ours, or a value that is not finite.
    """
    try:
        with open_arrays(path) as file:
            logits, digest = file["logits"], file["digest"]
    except BROKEN_ARRAYS as error:
        raise ConfigError(f"{path}: not a file of opinions: {reason(error)}") from error
    if logits.dtype.kind != "f" or logits.ndim != 3 or digest.dtype.kind != "S" or digest.shape != logits.shape[:1]:
        raise ConfigError(
            f"{path}: not a file of opinions: logits {list(logits.shape)} beside digest {list(digest.shape)}"
        )
    if logits.shape[1] not in (1, 2) or logits.shape[2] != len(CLASSES):
        raise ConfigError(
            f"{path}: {logits.shape[1]} views of {logits.shape[2]} classes; 1 or 2 views of {len(CLASSES)} are due"
        )
    if bad := int((~np.isfinite(logits)).any(axis=(1, 2)).sum()):
        raise ConfigError(f"{path}: the opinions of {bad:,} faces are not finite")
    return Opinions(logits.astype(np.float16), digest)


def ask(
    onnx: Path,
    images: NDArray[np.uint8],
    out: Path,
    *,
    size: int,
    scale: float,
    views: int = 2,
    threads: int = 0,
    begun: Callable[[int], None] = lambda count: None,
    progress: Progress = lambda count: None,
) -> Opinions:
    """Ask an ONNX classifier about every image, clean and mirrored, and write `out`.

    A face reaches it resized bilinearly, with its grey level in each of the channels that the network takes, divided by
    `scale`. What was asked so far is kept beside `out` every half a minute, and a run with the same model, data and
    arguments goes on from there.

    Args:
        images: uint8 [N, 48, 48].
        size: side of what the network takes, pixels.
        scale: grey levels are divided by it.
        views: 1: clean alone; 2: mirrored too.
        threads: of the processor; 0: all.
        begun: told once how many faces an earlier run has done.
        progress: told after each batch how many more are done.

    Raises:
        ConfigError: onnxruntime is not installed; the file is missing or no ONNX model; the model takes something else
            than one batch of pictures of that size, or does not give one row of logits for each.
        TrainingError: it failed, or gave logits that are not finite; names the face.
    """
    session = _open(onnx, threads)
    name, most, channels, last = _input(onnx, session, size)
    identity = {
        "onnx": sha256(onnx),
        "faces": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
        "size": size,
        "scale": scale,
        "views": views,
    }
    partial = out.with_name(f".partial-{out.name}")
    logits = np.empty((len(images), views, len(CLASSES)), np.float16)
    done = _resume(partial, identity, logits)
    begun(done)
    saved = time.monotonic()
    while done < len(images):
        batch = images[done : done + most]
        seen = (batch, batch[:, :, ::-1])[:views]
        for view, faces in enumerate(seen):
            logits[done : done + len(batch), view] = _logits(
                onnx, session, name, _prepare(faces, size, scale, channels, last=last), done
            )
        done += len(batch)
        progress(len(batch))
        if time.monotonic() - saved > _SAVE_S:
            _save(partial, logits=logits[:done], identity=np.array(json.dumps(identity)))
            saved = time.monotonic()
    opinions = Opinions(logits, digests(images))
    _save(out, logits=opinions.logits, digest=opinions.digest, views=np.array(VIEWS[:views]))
    partial.unlink(missing_ok=True)
    return opinions


def _open(onnx: Path, threads: int) -> Any:
    try:
        # An extra of its own: nothing else needs it.
        import onnxruntime
    except ImportError as error:
        raise ConfigError("onnxruntime is not installed; pip install 'emotion-serving[teacher]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        # From bytes: a path that does not exist, and a directory, would get a native error without a reason.
        return onnxruntime.InferenceSession(onnx.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ConfigError(f"{onnx}: {reason(error)}") from error
    except Exception as error:  # onnxruntime has a kind of its own for each stage of parsing
        raise ConfigError(f"{onnx}: not an ONNX model that can be run: {str(error).splitlines()[0]}") from error


def _input(onnx: Path, session: Any, size: int) -> tuple[str, int, int, bool]:
    """Name of the only input, how many pictures it takes at once, their channels, and whether these stand last."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        found = ", ".join(f"{i.type} {i.shape}" for i in inputs)
        raise ConfigError(f"{onnx}: one input of pictures, float [N, C, H, W] or [N, H, W, C], is due; it has {found}")
    shape = inputs[0].shape
    last = shape[3] in (1, 3)
    channels, sides = (shape[3], shape[1:3]) if last else (shape[1], shape[2:])
    if channels not in (1, 3) or any(isinstance(side, int) and side != size for side in sides):
        raise ConfigError(f"{onnx}: takes {shape}, not pictures of side {size} with 1 or 3 channels")
    # Some exporters fix the number of pictures, which the last batch would not fill.
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ConfigError(f"{onnx}: takes {shape[0]} pictures at once, no more and no less; export it for 1 or for any")
    return inputs[0].name, 1 if shape[0] == 1 else _BATCH, channels, last


def _prepare(faces: NDArray[np.uint8], size: int, scale: float, channels: int, *, last: bool) -> NDArray[np.float32]:
    grown = np.stack([cv2.resize(face, (size, size), interpolation=cv2.INTER_LINEAR) for face in faces])
    values = grown.astype(np.float32) / np.float32(scale)
    axis = 3 if last else 1
    return np.repeat(np.expand_dims(values, axis), channels, axis=axis)


def _logits(onnx: Path, session: Any, name: str, faces: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    where = f"{onnx}: faces {first + 1:,} to {first + len(faces):,}"
    try:
        answer = session.run(None, {name: faces})[0]
    except Exception as error:  # as above
        raise TrainingError(f"{where}: {str(error).splitlines()[0]}") from error
    if answer.shape != (len(faces), len(CLASSES)):
        raise ConfigError(f"{onnx}: answers {list(answer.shape)} where [{len(faces)}, {len(CLASSES)}] is due")
    if not np.isfinite(answer).all():
        row = int((~np.isfinite(answer)).any(axis=1).argmax())
        raise TrainingError(f"{onnx}: face {first + row + 1:,}: logits that are not finite")
    return np.asarray(answer, np.float32)


def _resume(partial: Path, identity: Mapping[str, Any], logits: NDArray[np.float16]) -> int:
    try:
        with open_arrays(partial) as file:
            if json.loads(str(file["identity"])) != identity:
                return 0
            known = file["logits"]
    except BROKEN_ARRAYS:
        return 0  # it was never begun, or ended while this was written
    logits[: len(known)] = known
    return len(known)


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
