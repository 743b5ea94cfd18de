"""Kaggle's CSV, and all sources together as one dataset."""

import gzip
import hashlib
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faces.contract import CLASSES, to_input
from trainer.data.dataset import load, read_all
from trainer.data.fer2013 import read_arrays, read_fer2013
from trainer.data.split import Split, concatenate
from trainer.errors import ConfigError, DataError

PIXELS = " ".join(["7"] * 2304)
GOOD = f"3,{PIXELS},Training\n"
HEADER = "emotion,pixels,Usage\n"


def test_reads_what_was_written(fer_csv: Path, training: Split, validation: Split) -> None:
    dataset = load([fer_csv])
    assert list(dataset.splits) == ["Training", "PublicTest"]
    np.testing.assert_array_equal(dataset.splits["Training"].images, training.images)
    np.testing.assert_array_equal(dataset.splits["PublicTest"].labels, validation.labels)
    assert dataset.splits["PublicTest"].class_counts() == dict.fromkeys(CLASSES, 10)
    assert dataset.splits["Training"].votes is None
    assert dataset.leaked == 0


def test_columns_are_found_by_name_whatever_their_order_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "icml_face_data.csv"
    path.write_text(f"\ufeffemotion, Usage, pixels\n3,PrivateTest,{PIXELS}\n\n4, Training,{PIXELS}\n", encoding="utf-8")
    splits = read_fer2013(path)
    assert {name: split.labels.tolist() for name, split in splits.items()} == {"Training": [4], "PrivateTest": [3]}
    assert all((split.images == 7).all() for split in splits.values())


def test_quoted_fields_and_other_white_space_are_read(tmp_path: Path) -> None:
    path = tmp_path / "quoted.csv"
    tabs = PIXELS.replace(" ", "\t")
    path.write_bytes(f'"emotion","pixels","Usage"\r\n3,"{PIXELS}",Training\r\n5,{tabs},PublicTest\r\n'.encode())
    splits = read_fer2013(path)
    assert {name: split.labels.tolist() for name, split in splits.items()} == {"Training": [3], "PublicTest": [5]}
    assert all((split.images == 7).all() for split in splits.values())


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("bad_row", "reason"),
    [
        (f"7,{PIXELS},Training", "emotion '7' is not a number from 0 to 6"),
        (f"-1,{PIXELS},Training", "emotion '-1'"),
        (f"happy,{PIXELS},Training", "emotion 'happy'"),
        (f",{PIXELS},Training", "emotion ''"),
        (f"3,{PIXELS},Test", "unknown Usage 'Test'; known: Training, PublicTest, PrivateTest"),
        (f"3,{PIXELS[:-2]},Training", "2303 pixels where 48x48 = 2304 are due"),
        (f"3,{PIXELS} 7,Training", "2305 pixels"),
        ("3,,Training", "0 pixels"),
        (f"3,{PIXELS[:-1]}256,Training", "pixel 2304 lies outside 0 to 255: 256"),
        (f"3,{PIXELS[:-1]}{'9' * 30},Training", "pixel 2304 lies outside 0 to 255: 99999"),
        (f"3,-1{PIXELS[1:]},Training", "pixel 1 is not a whole number from 0 to 255: '-1'"),
        (f"3,{PIXELS[:-4]} 7-7,Training", "2303 pixels"),
        (f"3,{PIXELS[:-1]}7.5,Training", "pixel 2304 is not a whole number from 0 to 255: '7.5'"),
        (f"3,{PIXELS[:-1]}²,Training", "pixel 2304 is not a whole number"),
        (f"3,{PIXELS}", "too few columns: 2, the header 3"),
        (f"3,{PIXELS},Training,more", "too many columns: 4, the header 3"),
    ],
)
def test_a_bad_row_names_file_line_and_reason(tmp_path: Path, quote: str, bad_row: str, reason: str) -> None:
    path = tmp_path / "bad.csv"
    first = GOOD.replace("Training", f"{quote}Training{quote}")
    path.write_text(HEADER + first + bad_row + "\n" + GOOD, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_fer2013(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert reason in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"emotion,pixels\n3,{PIXELS}\n")
    with pytest.raises(DataError, match=r"line 1: lacks the column\(s\) Usage"):
        read_fer2013(path)


@pytest.mark.parametrize("content", ["", HEADER])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=str(path)):
        read_fer2013(path)


def test_unreadable_files_are_data_errors(tmp_path: Path, fer_csv: Path) -> None:
    content = fer_csv.read_bytes()
    contents = {
        "truncated.csv.gz": content[:-100],
        "garbled.csv.gz": content[:10] + b"\xff" * 100,
        "plain.csv.gz": (HEADER + GOOD).encode(),
        "plain.zip": (HEADER + GOOD).encode(),
        "binary.csv": b"\xff\xfe\x00",
        "quote.csv": (HEADER + '"' + PIXELS * 50).encode(),
    }
    for name, bad in contents.items():
        (tmp_path / name).write_bytes(bad)
    for name in (*contents, "missing.csv"):
        with pytest.raises(DataError, match=f"{name}.*: cannot be read: "):
            read_fer2013(tmp_path / name)


@pytest.mark.parametrize(
    "members", [["data/any.csv", "__MACOSX/data/._any.csv", "README"], ["test.csv", "train.csv", "icml_face_data.csv"]]
)
def test_a_zip_gives_the_csv_inside(tmp_path: Path, members: list[str]) -> None:
    path = tmp_path / "archive.ZIP"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in members:
            right = name in ("data/any.csv", "icml_face_data.csv")
            archive.writestr(name, HEADER + GOOD if right else "id\n1\n")
    assert read_fer2013(path)["Training"].labels.tolist() == [3]


@pytest.mark.parametrize(("members", "named"), [([], "none"), (["a.csv", "b.csv"], "a.csv, b.csv")])
def test_a_zip_that_leaves_a_choice_is_refused(tmp_path: Path, members: list[str], named: str) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, HEADER + GOOD)
    with pytest.raises(DataError, match=f"it has: {named}$"):
        read_fer2013(path)


def test_a_mixture_of_csv_and_folder_is_one_dataset(
    tmp_path: Path, fer_csv: Path, faces: Callable[..., Split], write_folder: Callable[..., Path]
) -> None:
    own = faces(21, seed=9)
    for split in ("Training", "PrivateTest"):
        write_folder(tmp_path / "own" / split, own.take(np.arange(14) if split == "Training" else np.arange(14, 21)))
    dataset = load([tmp_path / "own", fer_csv])
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "Training": 224 + 14,
        "PublicTest": 70,
        "PrivateTest": 7,
    }
    assert [(source.name, source.images) for source in dataset.sources] == [("own", 21), (fer_csv.name, 294)]
    assert dataset.splits["PrivateTest"].class_counts() == dict.fromkeys(CLASSES, 1)


def test_facts_name_the_data_and_not_where_it_lies(tmp_path: Path, fer_csv: Path) -> None:
    facts = load([fer_csv]).facts
    assert facts == json.loads(json.dumps(facts))
    digest = hashlib.sha256(fer_csv.read_bytes()).hexdigest()
    assert facts["sources"] == [{"name": fer_csv.name, "sha256": digest, "images": 294}]
    assert (facts["votes"], facts["training_images"], facts["leaked"]) == (None, 224, 0)
    plain = tmp_path / "unpacked.csv"
    plain.write_bytes(gzip.decompress(fer_csv.read_bytes()))
    assert load([plain]).facts["sha256"] == facts["sha256"]
    text = plain.read_text()
    relabelled = {"0": "1", "1": "0"}[text.splitlines()[1][0]]
    plain.write_text(HEADER + relabelled + text[len(HEADER) + 1 :])
    assert load([plain]).facts["sha256"] != facts["sha256"]


def test_a_missing_split_is_named_with_the_source(tmp_path: Path) -> None:
    path = tmp_path / "only.csv"
    path.write_text(HEADER + GOOD)
    dataset = load([path])
    assert len(dataset.require("Training")[0]) == 1
    with pytest.raises(DataError, match=r"only\.csv: no PublicTest images; there are: Training"):
        dataset.require("Training", "PublicTest")


def test_a_map_to_no_class_of_ours_is_refused(fer_csv: Path) -> None:
    with pytest.raises(ConfigError, match="joy=glad: 'glad' is not one of angry, "):
        read_all([fer_csv], class_map={"joy": "glad"})


def test_votes_follow_their_faces(faces: Callable[..., Split]) -> None:
    plain = faces(7, seed=3)
    voted = Split(plain.images, plain.labels, np.eye(7, dtype=np.float32))
    assert voted.take(np.array([4, 2])).majority.tolist() == [4, 2]
    assert voted.take(voted.labels > 4).majority.tolist() == [5, 6]
    assert plain.take(np.array([1])).votes is None
    assert concatenate([plain, voted]).majority.tolist() == [-1] * 7 + list(range(7))
    assert concatenate([plain, plain]).votes is None


def test_a_tie_and_a_face_without_votes_have_no_majority() -> None:
    votes = np.array([[0.5, 0.5, 0, 0, 0, 0, 0], [0] * 7, [0.6, 0.3, 0.1, 0, 0, 0, 0]], np.float32)
    assert Split(np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.uint8), votes).majority.tolist() == [-1, -1, 0]


def test_normalize_spans_the_contract_range() -> None:
    images = to_input(np.array([[[0, 255], [127, 128]]], np.uint8))
    assert images.shape == (1, 2, 2, 1)
    assert images.dtype == np.float32
    assert images.min() == -1
    assert images.max() == 1


def arrays(**changes: object) -> dict[str, np.ndarray]:
    values = {
        "pixels": np.full((3, 48, 48), 7, np.uint8),
        "emotion": np.array([3, 0, 6], np.uint8),
        "usage": np.array(["Training", "PublicTest", "PrivateTest"]),
        **changes,
    }
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


@pytest.mark.parametrize("shape", [(3, 48, 48), (3, 2304)])
def test_arrays_are_read_like_the_csv(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.arange(3 * 2304).astype(np.uint8)
    np.savez(tmp_path / "fer2013.npz", **arrays(pixels=pixels.reshape(shape)))
    dataset = read_all([tmp_path / "fer2013.npz"])
    assert {name: split.labels.tolist() for name, split in dataset.splits.items()} == {
        "Training": [3],
        "PublicTest": [0],
        "PrivateTest": [6],
    }
    np.testing.assert_array_equal(dataset.splits["PublicTest"].images[0].ravel(), pixels[2304:4608])


def test_votes_go_beside_arrays_too(fer_csv: Path, training: Split, validation: Split, tmp_path: Path) -> None:
    both = concatenate([training, validation])
    usage = ["Training"] * len(training) + ["PublicTest"] * len(validation)
    np.savez(tmp_path / "a.npz", pixels=both.images, emotion=both.labels, usage=np.array(usage))
    names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = tmp_path / "fer2013new.csv"
    votes.write_text(f"Usage,Image name,{names}\n" + "".join(f"{split},x,1,2,3,4,0,0,0,0,0,0\n" for split in usage))
    ours, csvs = (load([path], votes=votes) for path in (tmp_path / "a.npz", fer_csv))
    assert ours.facts["sha256"] == csvs.facts["sha256"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"usage": None}, "lacks the array(s) usage"),
        ({"pixels": np.zeros((3, 48, 48), np.float32)}, "pixels is float32 [3, 48, 48]; it must be uint8 [N, 48, 48]"),
        ({"pixels": np.zeros((3, 48, 40), np.uint8)}, "pixels is uint8 [3, 48, 40]"),
        ({"emotion": np.array([1, 2])}, "emotion is int64 [2]; it must be whole numbers [3]"),
        ({"emotion": np.array([1.0, 2, 3])}, "emotion is float64 [3]"),
        ({"emotion": np.array([1, 7, 3])}, "row 2: emotion is 7; known: 0 to 6"),
        ({"emotion": np.array([1, 2, -3])}, "row 3: emotion is -3"),
        ({"usage": np.array(["Training", "Test", "Training"])}, "row 2: usage is 'Test'; known: Training"),
        ({"usage": np.array([0, 1, 2])}, "usage is int64 [3]; it must be text [3]"),
        ({name: values[:0] for name, values in arrays().items()}, "has no rows"),
        ({"usage": np.array(["a", None, "b"], object)}, "cannot be read"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays(**changes))
    with pytest.raises(DataError) as caught:
        read_arrays(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_a_file_that_is_no_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read_arrays(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="cannot be read: not an archive of arrays"):
        read_arrays(path)
    with pytest.raises(DataError, match="No such file"):
        read_arrays(tmp_path / "absent.npz")


@pytest.mark.parametrize("name", ["fer2013/FER2013.CSV", "Fer2013.Csv", "ICML_FACE_DATA.CSV"])
def test_the_case_of_names_in_a_zip_is_no_matter(tmp_path: Path, name: str) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, HEADER + GOOD)
        archive.writestr("TEST.CSV", "id\n1\n")
    assert read_fer2013(path)["Training"].labels.tolist() == [3]


@pytest.mark.parametrize("name", ["fer2013.tar.gz", "FER2013.TGZ", "fer2013.tar"])
def test_a_tar_archive_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (tmp_path / "fer2013.csv").write_text(HEADER + GOOD)
    with tarfile.open(path, "w" if name.endswith("tar") else "w:gz") as archive:
        archive.add(tmp_path / "fer2013.csv", "fer2013/fer2013.csv")
    with pytest.raises(DataError, match=f"{name}: is a tar archive: unpack it"):
        load([path])


@pytest.mark.parametrize("kind", ["csv", "folder", "class", "image"])
def test_a_name_that_is_not_utf_8_is_shown(
    tmp_path: Path, kind: str, faces: Callable[..., Split], write_folder: Callable[..., Path]
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    own = write_folder(tmp_path / "own", faces(14, seed=3))
    if kind == "csv":
        own = tmp_path / f"{odd}.csv"
        own.write_text(HEADER + GOOD)
    elif kind == "folder":
        own = own.rename(tmp_path / odd)
    elif kind == "class":
        (own / odd).mkdir()
    else:
        image = next((own / "happy").iterdir())
        image.rename(image.with_name(f"{odd}.png"))
    with pytest.raises(DataError) as refused:
        load([own])
    assert "caf\\xe9" in str(refused.value)
    assert "not UTF-8" in str(refused.value)
    str(refused.value).encode()
