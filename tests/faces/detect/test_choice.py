"""Which detector a machine gets."""

import hashlib
from pathlib import Path

import pytest

from faces.detect.choice import Detectors, open_detectors
from faces.errors import ModelFileError


def choose(choice: str, yunet: Path | None = None, sha256: str | None = None) -> Detectors:
    return open_detectors(choice, yunet=yunet, sha256=sha256, side=640, side_max=1920)


def test_auto_takes_yunet_where_its_file_is(yunet_file: Path) -> None:
    found = choose("auto", yunet_file)
    assert found.default == "yunet"
    assert set(found.by_name) == {"yunet", "mtcnn", "haar"}
    assert str(yunet_file) in found.reason


@pytest.mark.parametrize("yunet", [None, Path("/nowhere/yunet.onnx")])
def test_auto_takes_mtcnn_where_it_is_not(yunet: Path | None) -> None:
    found = choose("auto", yunet)
    assert found.default == "mtcnn"
    assert set(found.by_name) == {"mtcnn", "haar"}
    assert "YuNet" in found.reason


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_who_names_one_gets_it(name: str) -> None:
    assert choose(name).default == name


def test_yunet_without_its_file_is_refused() -> None:
    with pytest.raises(ModelFileError, match="no file is named"):
        choose("yunet")
    with pytest.raises(ModelFileError, match="does not exist"):
        choose("yunet", Path("/nowhere/yunet.onnx"))


@pytest.mark.parametrize("choice", ["auto", "yunet"])
def test_another_file_is_refused_unless_its_digest_is_named(tmp_path: Path, choice: str) -> None:
    other = tmp_path / "yunet.onnx"
    other.write_bytes(b"another")
    with pytest.raises(ModelFileError, match="its SHA-256 is"):
        choose(choice, other)


def test_a_file_with_a_named_digest_is_taken(yunet_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine.onnx"
    copy.write_bytes(yunet_file.read_bytes())
    found = choose("yunet", copy, hashlib.sha256(copy.read_bytes()).hexdigest())
    assert found.default == "yunet"
    with pytest.raises(ModelFileError):
        choose("yunet", copy, "0" * 64)
