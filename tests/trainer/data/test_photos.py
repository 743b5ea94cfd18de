"""A training folder from somebody's own photos."""

import csv
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from faces.align import Aligner
from faces.contract import to_input
from faces.detect import SIDE_MAX
from faces.detect.mtcnn import Mtcnn
from faces.finder import FaceFinder, FaceOptions
from trainer.__main__ import app
from trainer.data.dataset import load
from trainer.errors import ConfigError, DataError

SAMPLES = Path(__file__).parents[3] / "api" / "samples"


def crop(*arguments: object, environment: Mapping[str, str] | None = None) -> Result:
    """`python -m trainer data crop`, with MTCNN, which every machine has."""
    own = {"EMOTION_YUNET_MODEL": "", "EMOTION_YUNET_SHA256": "", "COLUMNS": "200"} | dict(environment or {})
    done = CliRunner().invoke(app, ["data", "crop", *map(str, arguments)], env=own)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png") if path.parent != out)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two people who are happy, one who is in `Joy`, one of no class, and files that are no photos."""
    root = tmp_path / "photos"
    for folder, sample in (("happy", "two"), ("Joy", "one"), ("holiday/rome", "one")):
        (root / folder).mkdir(parents=True)
        shutil.copy(SAMPLES / f"{sample}.jpg", root / folder / f"{sample}.jpg")
    (root / "happy" / "notes.txt").write_text("not a photo")
    (root / "happy" / "cut.jpg").write_bytes((SAMPLES / "one.jpg").read_bytes()[:5000])
    (root / "happy" / "empty.png").touch()
    (root / "happy" / "Thumbs.db").write_bytes(b"x")
    (root / "happy" / ".hidden.jpg").write_bytes(b"x")
    Image.new("RGB", (300, 200), "green").save(root / "happy" / "meadow.png")
    return root


def test_every_face_goes_to_the_class_of_its_photos_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "faces"
    done = crop(photos, "--out", out, "--map", "joy=surprise")
    assert done.exit_code == 0
    assert files(out) == ["happy/two-1.png", "happy/two-2.png", "surprise/one-1.png", "unlabelled/one-1.png"]
    for name in files(out):
        with Image.open(out / name) as face:
            assert (face.size, face.mode) == ((48, 48), "L")
    made = rows(out / "faces.csv")
    assert sorted(row["file"] for row in made) == files(out)
    assert all(int(row["width"]) > 100 and float(row["score"]) > 0.6 for row in made)
    assert (out / "contact-sheet.png").stat().st_size > 1000


def test_what_gave_no_face_is_listed_with_the_reason_and_loses_nothing_else(photos: Path, tmp_path: Path) -> None:
    crop(photos, "--out", tmp_path / "faces")
    left_out = {Path(row["photo"]).name: row for row in rows(tmp_path / "faces" / "left-out.csv")}
    assert {name: row["why"] for name, row in left_out.items()} == {
        "cut.jpg": "unreadable",
        "empty.png": "unreadable",
        "meadow.png": "no face",
        "notes.txt": "unreadable",
    }
    assert "truncated" in left_out["cut.jpg"]["detail"]


def test_a_training_reads_the_very_pixels_that_the_gateway_would_send(photos: Path, tmp_path: Path) -> None:
    crop(photos / "happy", "--out", tmp_path / "faces")
    splits = load([tmp_path / "faces"]).splits
    read = to_input(np.concatenate([split.images for split in splits.values()]))
    finder = FaceFinder({"mtcnn": Mtcnn()}, Aligner(), max_bytes=10**7, max_pixels=25_000_000, side=SIDE_MAX)
    options = FaceOptions(max_faces=50, min_face=None, detector="mtcnn", align=True, rotate=False)
    sent = finder.find(finder.decode((SAMPLES / "two.jpg").read_bytes()), options).tensor
    assert sorted(face.tobytes() for face in read) == sorted(face.tobytes() for face in sent)


def test_yunet_is_taken_where_its_file_is(photos: Path, tmp_path: Path) -> None:
    file = os.environ.get("TEST_YUNET_MODEL")
    if not file:
        pytest.skip("no YuNet: TEST_YUNET_MODEL names no file")
    done = crop(photos, "--out", tmp_path / "faces", environment={"EMOTION_YUNET_MODEL": file})
    assert "found by yunet" in done.output
    assert len(files(tmp_path / "faces")) == 4
    with pytest.raises(ConfigError, match="SHA-256"):
        crop(photos, "--out", tmp_path / "other", "--yunet", file, "--yunet-sha256", "0" * 64)


def test_the_same_photos_give_the_same_folder(photos: Path, tmp_path: Path) -> None:
    for name in "ab":
        crop(photos, "--out", tmp_path / name)
    a, b = ({p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "ab")
    assert list(a.values()) == list(b.values())


def test_photos_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    for folder in ("anna/sad", "bert/sad"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(SAMPLES / "one.jpg", tmp_path / folder / "img.jpg")
    shutil.copy(SAMPLES / "two.jpg", tmp_path / "bert/sad" / "IMG.jpeg")
    crop(tmp_path / "anna", tmp_path / "bert", tmp_path / "anna/sad/img.jpg", "--out", tmp_path / "faces")
    assert len(files(tmp_path / "faces")) == 4


def test_odd_names(tmp_path: Path) -> None:
    (tmp_path / "sad").mkdir()
    for name in (b".jpg.jpg", b"\xff\xfe.jpg", b"x" * 251 + b".jpg", 'ü, "1".jpg'.encode()):
        shutil.copy(SAMPLES / "one.jpg", os.fsdecode(os.fsencode(tmp_path / "sad") + b"/" + name))
    hidden = tmp_path / "sad" / ".jpg.jpg"
    crop(tmp_path, hidden, "--out", tmp_path / "faces")
    assert sum(len(split) for split in load([tmp_path / "faces"]).splits.values()) == 4


def test_the_largest_face_alone(photos: Path, tmp_path: Path) -> None:
    crop(photos / "happy" / "two.jpg", "--out", tmp_path / "faces", "--largest")
    assert files(tmp_path / "faces") == ["happy/two-1.png"]
    [kept], [other] = (rows(tmp_path / "faces" / name) for name in ("faces.csv", "left-out.csv"))
    assert other["why"] == "not the largest"
    assert int(kept["width"]) * int(kept["height"]) >= int(other["width"]) * int(other["height"])


def test_small_and_doubtful_faces_are_left_out_and_listed(photos: Path, tmp_path: Path) -> None:
    crop(photos / "happy" / "two.jpg", "--out", tmp_path / "all")
    widths = sorted(int(row["width"]) for row in rows(tmp_path / "all" / "faces.csv"))
    crop(photos / "happy" / "two.jpg", "--out", tmp_path / "wide", "--min-face", widths[1])
    assert [row["why"] for row in rows(tmp_path / "wide" / "left-out.csv")] == ["too small"]
    crop(photos / "happy" / "two.jpg", "--out", tmp_path / "sure", "--min-score", 1)
    left_out = rows(tmp_path / "sure" / "left-out.csv")
    assert [row["why"] for row in left_out] == ["below the score"] * 2
    assert files(tmp_path / "sure") == []
    with pytest.raises(ConfigError, match="score"):
        crop(photos, "--out", tmp_path / "haar", "--detector", "haar", "--min-score", 0.5)


def test_only_what_an_earlier_run_made_is_replaced(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "diary.txt").write_text("mine")
    for arguments in ([], ["--overwrite"]):
        with pytest.raises(DataError, match="not"):
            crop(photos, "--out", own, *arguments)
    assert (own / "diary.txt").read_text() == "mine"
    out = tmp_path / "faces"
    crop(photos, "--out", out)
    with pytest.raises(DataError, match="not empty"):
        crop(photos / "happy", "--out", out)
    with pytest.raises(DataError, match="to be cropped"):
        crop(out, "--out", out, "--overwrite")
    assert len(files(out)) == 4
    crop(photos / "happy", "--out", out, "--overwrite")
    assert len(files(out)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_mistakes_are_told_before_anything_is_cropped(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        crop(photos, tmp_path / "absent", "--out", tmp_path / "faces")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no files"):
        crop(tmp_path / "none", "--out", tmp_path / "faces")
    with pytest.raises(DataError, match="no folder"):
        crop(photos, "--out", photos / "happy" / "notes.txt")
    with pytest.raises(ConfigError, match="YuNet"):
        crop(photos, "--out", tmp_path / "faces", "--detector", "yunet")
    assert not (tmp_path / "faces").exists()
