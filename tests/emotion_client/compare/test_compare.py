"""Two versions on the same photos, through the real service."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from scipy.stats import binomtest

from emotion_client.compare.choice import Choice
from emotion_client.compare.figures import mcnemar
from emotion_client.compare.run import photos, run, truths
from emotion_client.compare.sheet import draw

SAMPLES = Path(__file__).resolve().parents[3] / "api" / "samples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Version 1 says disgust of dim faces, version 2 fear."""
    for emotion in ("disgust", "fear"):
        (tmp_path / "photos" / emotion).mkdir(parents=True)
    shutil.copy(SAMPLES / "one.jpg", tmp_path / "photos" / "disgust")
    shutil.copy(SAMPLES / "two.jpg", tmp_path / "photos" / "fear")
    (tmp_path / "photos" / "fear" / "broken.jpg").write_bytes(b"no photo")
    return tmp_path / "photos"


async def test_they_differ_where_the_versions_do(predict: Any, folder: Path, tmp_path: Path) -> None:
    done: list[None] = []
    comparison = await run(
        folder,
        partial(predict, model="residual", version=1),
        partial(predict, model="residual", version=2),
        refused=httpx.HTTPStatusError,
        advance=lambda: done.append(None),
    )
    figures = comparison.figures
    assert len(done) == 3
    assert [path.name for path in comparison.problems] == ["broken.jpg"]
    assert (figures.photos, figures.faces, figures.unmatched) == (2, 3, 0)
    assert figures.agreed + figures.differences.total() == 3
    assert figures.differences["disgust", "fear"] == 3
    assert (figures.labelled, figures.right_a, figures.right_b, figures.only_a, figures.only_b) == (2, 1, 1, 1, 1)
    draw(comparison.differences, tmp_path / "sheet.png", ("residual:1", "residual:2"), "en")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 400


async def test_a_version_agrees_with_itself(predict: Any, folder: Path) -> None:
    ask = partial(predict, model="residual", version=1)
    comparison = await run(folder, ask, ask, refused=httpx.HTTPStatusError, advance=lambda: None)
    assert comparison.figures.as_json()["agreement"] == 1
    assert comparison.differences == []


def test_folders_are_classes_only_where_all_are(folder: Path) -> None:
    assert set(truths(folder, photos(folder)).values()) == {"disgust", "fear"}
    shutil.copy(SAMPLES / "one.jpg", folder)
    assert truths(folder, photos(folder)) == {}


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 9), (9, 3), (5, 5), (40, 700)])
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    want = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(want)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("random", Choice("random")),
        ("random:3", Choice("random", version=3)),
        ("random@stable", Choice("random", label="stable")),
    ],
)
def test_a_model_is_named_by_version_or_label(text: str, choice: Choice) -> None:
    assert Choice.parse(text) == choice


@pytest.mark.parametrize("text", ["", ":3", "random:", "random:x", "random@", "random@a:3"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAME:VERSION"):
        Choice.parse(text)
