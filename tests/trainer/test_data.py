from pathlib import Path

import numpy as np
import pytest

from trainer.data import CLASSES, Split, normalize, read_fer2013, sha256
from trainer.errors import DataError

PIXELS = " ".join(["7"] * 2304)
GOOD = f"3,{PIXELS},Training\n"
HEADER = "emotion,pixels,Usage\n"


def test_reads_what_was_written(fer_csv: Path, training: Split, validation: Split) -> None:
    splits = read_fer2013(fer_csv)
    assert list(splits) == ["Training", "PublicTest"]
    np.testing.assert_array_equal(splits["Training"].images, training.images)
    np.testing.assert_array_equal(splits["PublicTest"].labels, validation.labels)
    assert splits["PublicTest"].class_counts() == dict.fromkeys(CLASSES, 10)


def test_columns_are_found_by_name_whatever_their_order_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "icml_face_data.csv"
    path.write_text(f"emotion, Usage, pixels\n3,PrivateTest,{PIXELS}\n")
    split = read_fer2013(path)["PrivateTest"]
    assert split.labels.tolist() == [3]
    assert (split.images == 7).all()


@pytest.mark.parametrize(
    ("bad_row", "reason"),
    [
        (f"7,{PIXELS},Training", "emotion '7' is not a number from 0 to 6"),
        (f"-1,{PIXELS},Training", "emotion '-1'"),
        (f"happy,{PIXELS},Training", "emotion 'happy'"),
        (f"3,{PIXELS},Test", "unknown Usage 'Test'; known: Training, PublicTest, PrivateTest"),
        (f"3,{PIXELS[:-2]},Training", "2303 pixels where 48x48 = 2304 are due"),
        ("3,,Training", "0 pixels"),
        (f"3,{PIXELS[:-1]}256,Training", "a pixel lies outside 0 to 255"),
        (f"3,{PIXELS[:-1]}-1,Training", "a pixel lies outside 0 to 255"),
        (f"3,{PIXELS[:-1]}x,Training", "a pixel is not a whole number"),
        (f"3,{PIXELS[:-1]}{'9' * 30},Training", "a pixel is not a whole number"),
        (f"3,{PIXELS}", "too few columns"),
        (f"3,{PIXELS},Training,more", "too many columns"),
    ],
)
def test_a_bad_row_names_file_line_and_reason(tmp_path: Path, bad_row: str, reason: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + GOOD + bad_row + "\n" + GOOD)
    with pytest.raises(DataError) as caught:
        read_fer2013(path)
    assert f"{path}, line 3: " in str(caught.value)
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
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(fer_csv.read_bytes()[:-100])
    not_gzip = tmp_path / "plain.csv.gz"
    not_gzip.write_text(HEADER + GOOD)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.csv", truncated, not_gzip, binary):
        with pytest.raises(DataError, match="cannot be read"):
            read_fer2013(path)


def test_normalize_spans_the_contract_range() -> None:
    faces = normalize(np.array([[[0, 255], [127, 128]]], np.uint8))
    assert faces.shape == (1, 2, 2, 1)
    assert faces.dtype == np.float32
    assert faces.min() == -1
    assert faces.max() == 1


def test_sha256_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
