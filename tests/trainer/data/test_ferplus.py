"""FER+ votes: read by column name, and only for the CSV that they were cast on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from faces.contract import CLASSES
from trainer.data.dataset import load
from trainer.data.split import Split
from trainer.errors import DataError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
# One column of FER+ after the other, as the classes that they are to us.
FERPLUS_ORDER = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")


def vote_row(usage: str, votes: Sequence[int]) -> str:
    return f"{usage},fer0000000.png,{','.join(map(str, votes))}\n"


@pytest.fixture
def csv(tmp_path: Path, faces: Callable[..., Split], write_csv: Callable[..., Path]) -> Path:
    """Seven Training faces and two PublicTest faces."""
    return write_csv(tmp_path / "fer.csv", {"Training": faces(7, seed=5), "PublicTest": faces(2, seed=6)})


@pytest.fixture
def rows() -> list[str]:
    training = [vote_row("Training", [10 * (column == i) for column in range(10)]) for i in range(7)]
    return [*training, vote_row("PublicTest", [1, 0, 0, 0, 3, 0, 0, 4, 1, 1]), vote_row("PublicTest", [0] * 9 + [10])]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    def write_votes(rows: Sequence[str]) -> Path:
        path = tmp_path / "votes.csv"
        path.write_text(HEADER + "".join(rows))
        return path

    return write_votes


def test_votes_are_shares_in_our_class_order(csv: Path, rows: list[str], write: Callable[..., Path]) -> None:
    dataset = load([csv], votes=write(rows))
    training, public = dataset.splits["Training"], dataset.splits["PublicTest"]
    assert [CLASSES[i] for i in training.majority] == list(FERPLUS_ORDER)
    assert public.votes is not None
    assert public.votes.dtype == np.float32
    # Votes for contempt, unknown and no face count, but for none of the classes.
    np.testing.assert_allclose(public.votes, [[0.3, 0, 0, 0, 0, 0, 0.1], [0] * 7])
    assert public.majority.tolist() == [-1, -1]
    facts = dataset.facts
    assert facts["votes"]["name"] == "votes.csv"
    assert facts["sha256"] != load([csv]).facts["sha256"]


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_rows_is_refused_with_both_counts(
    csv: Path, rows: list[str], write: Callable[..., Path], change: int
) -> None:
    path = write(rows[:-1] if change < 0 else [*rows, rows[-1]])
    with pytest.raises(DataError, match=rf"votes\.csv: has {9 + change} rows of votes where fer\.csv has 9 faces"):
        load([csv], votes=path)


def test_another_usage_is_refused_with_its_line(csv: Path, rows: list[str], write: Callable[..., Path]) -> None:
    rows[3] = rows[3].replace("Training", "PublicTest")
    with pytest.raises(DataError, match=r"line 5: Usage is 'PublicTest' where face 4 of fer\.csv has 'Training'"):
        load([csv], votes=write(rows))


@pytest.mark.parametrize("bad", ["-1", "0.5", "", "x", "1000"])
def test_a_vote_that_is_no_count_is_refused(csv: Path, rows: list[str], write: Callable[..., Path], bad: str) -> None:
    rows[2] = "Training,fer0000000.png,0,0,0,0,0,0," + bad + ",0,0,0\n"
    with pytest.raises(DataError, match=rf"line 4: fear '{bad}' is not a number of votes"):
        load([csv], votes=write(rows))


def test_a_file_that_is_not_fer_plus_is_refused(csv: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the column\(s\) anger, disgust, fear, happiness"):
        load([csv], votes=csv)


def test_votes_belong_to_the_first_csv(
    tmp_path: Path,
    csv: Path,
    rows: list[str],
    write: Callable[..., Path],
    faces: Callable[..., Split],
    write_csv: Callable[..., Path],
    write_folder: Callable[..., Path],
) -> None:
    folder = write_folder(tmp_path / "own" / "Training", faces(3, seed=7)).parent
    other = write_csv(tmp_path / "other.csv", {"Training": faces(2, seed=8)})
    majority = load([folder, csv, other], votes=write(rows)).splits["Training"].majority
    assert (majority >= 0).tolist() == [False] * 3 + [True] * 7 + [False] * 2
    with pytest.raises(DataError, match="none was given"):
        load([folder], votes=write(rows))
