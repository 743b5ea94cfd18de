"""How benchmarks/faces.py counts, and what its recipe makes."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from benchmarks.faces import make, measure, read_labels
from faces.detect.mtcnn import Mtcnn

SAMPLES = Path(__file__).parents[2] / "api" / "samples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pairs").mkdir()
    shutil.copy(SAMPLES / "two.jpg", tmp_path / "pairs")
    shutil.copy(SAMPLES / "one.jpg", tmp_path)
    return tmp_path


def counts(folder: Path, rows: str) -> dict[str, tuple[int, int, int]]:
    """By photos' folder: faces, found, false."""
    (folder / "labels.csv").write_text("photo,x,y,width,height\n" + rows)
    found = measure(folder, {"mtcnn": Mtcnn()}, Console(quiet=True))["mtcnn"]
    return {group: (count.faces, count.found, count.false) for group, count in found.items()}


def test_noses_and_boxes_are_found(folder: Path) -> None:
    rows = "pairs/two.jpg,255,245,,\npairs/two.jpg,685,128,175,220\none.jpg,268,240,,\n"
    assert counts(folder, rows) == {"": (3, 3, 0), "pairs": (2, 2, 0)}


def test_a_find_that_is_no_face_is_false_and_a_face_that_is_not_found_is_missed(folder: Path) -> None:
    assert counts(folder, "one.jpg,60,550,,\n") == {"": (1, 0, 1)}
    assert counts(folder, "one.jpg,240,220,50,50\n") == {"": (1, 0, 1)}
    assert counts(folder, "one.jpg,,,,\n") == {"": (0, 0, 1)}


def test_one_find_counts_for_one_face(folder: Path) -> None:
    assert counts(folder, "one.jpg,268,240,,\none.jpg,270,245,,\n") == {"": (2, 1, 0)}


def test_the_recipe_makes_the_same_folder_for_one_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = np.stack([cv2.resize(cv2.imread(str(SAMPLES / "face.jpg"), 0), (48, 48)).ravel()] * 3)
    np.savez(tmp_path / "faces.npz", pixels=faces, usage=np.array(["Training", "PublicTest", "PublicTest"]))
    for name in "ab":
        make(tmp_path / name, tmp_path / "faces.npz", seed=1, kinds=("close", "small"))
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in "ab")
    assert a == b
    labels = read_labels(tmp_path / "a")
    assert len(labels) == 32
    for photo, boxes in labels.items():
        height, width = cv2.imread(str(tmp_path / "a" / photo), 0).shape
        assert boxes
        assert all(0 <= box.x < width and 0 <= box.y < height for box in boxes if photo.startswith("small"))
