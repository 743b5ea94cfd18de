"""The detectors that this machine has."""

import os
from pathlib import Path

import pytest

from faces.decode import Grey, decode
from faces.detect import FaceDetector
from faces.detect.haar import Haar
from faces.detect.mtcnn import Mtcnn
from faces.detect.yunet import YuNet
from tests.conftest import SAMPLES


@pytest.fixture(scope="session")
def yunet_file() -> Path:
    """YuNet's file, which no package brings."""
    path = os.environ.get("TEST_YUNET_MODEL")
    if not path:
        pytest.skip("no YuNet: TEST_YUNET_MODEL names no file")
    return Path(path)


@pytest.fixture(scope="session", params=["yunet", "mtcnn", "haar"])
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    if request.param == "yunet":
        return YuNet(request.getfixturevalue("yunet_file"))
    return Mtcnn() if request.param == "mtcnn" else Haar()


@pytest.fixture(scope="session")
def one(one_face: bytes) -> Grey:
    """A portrait."""
    return decode(one_face, max_bytes=10 * 2**20, max_pixels=25_000_000)


@pytest.fixture(scope="session")
def group() -> Grey:
    """Twelve faces."""
    return decode((SAMPLES / "group.jpg").read_bytes(), max_bytes=10 * 2**20, max_pixels=25_000_000)


@pytest.fixture(scope="session")
def two(two_faces: bytes) -> Grey:
    """Two people."""
    return decode(two_faces, max_bytes=10 * 2**20, max_pixels=25_000_000)
