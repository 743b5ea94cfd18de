"""Copies of held-out images in Training, and what `data inspect` shows."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from faces.contract import CLASSES
from trainer.commands import data
from trainer.commands.options import parse_map
from trainer.data.contact_sheet import write_contact_sheet
from trainer.data.dataset import load, read_all
from trainer.data.split import Split, concatenate
from trainer.errors import ConfigError, DataError


@pytest.fixture
def splits(faces: Callable[..., Split]) -> dict[str, Split]:
    """Training: 20 faces, the first again, and two of PublicTest (one thrice, relabelled); PrivateTest has one more."""
    own, public = faces(20, seed=11), faces(7, seed=12)
    copied = public.take(np.array([2, 5, 5, 5]))
    relabelled = Split(copied.images, np.array([2, 6, 6, 6], np.uint8))
    return {
        "Training": concatenate([own, own.take(np.array([0])), relabelled]),
        "PublicTest": public,
        "PrivateTest": concatenate([faces(7, seed=13), public.take(np.array([3])), own.take(np.array([7]))]),
    }


def test_what_stands_in_a_held_out_split_is_left_out_of_training(
    tmp_path: Path, splits: dict[str, Split], write_csv: Callable[..., Path]
) -> None:
    path = write_csv(tmp_path / "fer.csv", splits)
    kept = load([path])
    assert kept.leaked == 5
    training = splits["Training"].take(np.array([i for i in range(21) if i != 7]))
    np.testing.assert_array_equal(kept.splits["Training"].images, training.images)
    np.testing.assert_array_equal(kept.splits["Training"].labels, training.labels)
    for name in ("PublicTest", "PrivateTest"):
        np.testing.assert_array_equal(kept.splits[name].images, splits[name].images)
    assert (kept.facts["training_images"], kept.facts["leaked"]) == (20, 5)
    assert len(read_all([path]).splits["Training"]) == 25


def test_leaks_are_found_across_sources(
    tmp_path: Path, fer_csv: Path, validation: Split, write_folder: Callable[..., Path]
) -> None:
    root = tmp_path / "own"
    write_folder(root / "Training", validation.take(np.arange(5)))
    dataset = load([fer_csv, root])
    assert dataset.leaked == 5
    assert len(dataset.splits["Training"]) == 224


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`python -m trainer data ...`, in this process; what it prints."""
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer()
    app.add_typer(data.app, name="data")

    def invoke(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["data", "inspect", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def cells(output: str, first: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if "│" in line]
    return [row[1:] for row in rows if row[0] == first]


def test_inspect_prints_counts_leaks_and_agreement(
    tmp_path: Path, splits: dict[str, Split], write_csv: Callable[..., Path], run: Callable[..., str]
) -> None:
    path = write_csv(tmp_path / "[fer].csv", splits)
    votes = tmp_path / "votes.csv"
    usages = [name for name, split in splits.items() for _ in range(len(split))]
    header = "Usage,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    # Everybody votes for angry, and nobody on the last face.
    rows = [f"{usage},0,0,0,0,{10 * (i + 1 < len(usages))},0,0,0,0,0\n" for i, usage in enumerate(usages)]
    votes.write_text(header + "".join(rows))
    sheet = tmp_path / "sheet.png"
    output = run("--data", path, "--votes", votes, "--sheet", sheet)
    assert cells(output, "[fer].csv")[0][0] == "41"
    angry = [int((split.labels == 0).sum()) for split in splits.values()]
    shares = ["100.0%"] * 3
    assert cells(output, "angry") == [[*map(str, angry), str(sum(angry))], shares]
    overall = [
        f"{(s.labels[: len(s) - last] == 0).mean():.1%}" for s, last in zip(splits.values(), (0, 0, 1), strict=True)
    ]
    assert cells(output, "all") == [["25", "7", "9", "41"], overall]
    assert cells(output, "no majority") == [["0", "0", "1"]]
    assert "5 Training images also stand in a split that is held out" in output
    assert cv2.imread(str(sheet)) is not None


def test_inspect_reads_a_mapped_folder(
    tmp_path: Path, faces: Callable[..., Split], write_folder: Callable[..., Path], run: Callable[..., str]
) -> None:
    root = write_folder(tmp_path / "Training", faces(14, seed=4)).parent
    (root / "Training" / "happy").rename(root / "Training" / "joy")
    output = run("--data", root, "--map", "joy=happy")
    assert cells(output, "happy") == [["2", "2"]]
    with pytest.raises(DataError, match="--map joy=CLASS"):
        run("--data", root)


@pytest.mark.parametrize("item", ["joy", "=happy", "joy="])
def test_a_map_that_is_not_a_pair_is_refused(item: str) -> None:
    with pytest.raises(ConfigError, match=f"--map {item}: expected FOREIGN=OURS"):
        parse_map([item])


def test_a_map_of_one_name_to_two_classes_is_refused() -> None:
    assert parse_map(["a=sad", "b = sad", "a=sad"]) == {"a": "sad", "b": "sad"}
    with pytest.raises(ConfigError, match="'a' is mapped to 'sad' already"):
        parse_map(["a=sad", "a=happy"])


def test_the_contact_sheet_has_a_row_per_class(tmp_path: Path) -> None:
    # Each class in a grey of its own; disgust has no image.
    labels = np.array([0, 2, 3, 4, 5, 6] * 30, np.uint8)
    images = np.repeat((60 + 20 * labels)[:, None, None], 48 * 48, axis=1).reshape(-1, 48, 48)
    path = tmp_path / "sheet"
    write_contact_sheet(path, [Split(images, labels)])
    sheet = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    height = sheet.shape[0] // len(CLASSES)
    for label, name in enumerate(CLASSES):
        row = sheet[label * height : (label + 1) * height]
        expected = 0 if name == "disgust" else 16 * 96 * 96
        assert (row == 60 + 20 * label).sum() == pytest.approx(expected, abs=100)
    with pytest.raises(DataError, match=r"missing/sheet\.png: cannot be written: No such file"):
        write_contact_sheet(tmp_path / "missing" / "sheet.png", [Split(images, labels)])
