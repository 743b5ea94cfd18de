"""Conditions, and the confidence under which an answer is unclear."""

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from faces.contract import CLASSES
from trainer.commands.evaluate import evaluate
from trainer.data.split import Split
from trainer.evaluation.conditions import CONDITIONS, disturbed
from trainer.evaluation.robustness import measure_robustness, unclear_below


def test_every_condition_keeps_the_shape_and_all_but_the_first_change_the_face() -> None:
    face = np.random.default_rng(0).integers(0, 256, (6, 6), np.uint8).repeat(8, 0).repeat(8, 1)
    found = dict(disturbed(face[None]))
    assert len(found) == 21
    for index, images in enumerate(found.values()):
        assert (images.shape, images.dtype) == ((1, 48, 48), np.uint8)
        assert (images[0] != face).any() == (index > 0)


def test_what_the_conditions_do() -> None:
    face = np.zeros((48, 48), np.uint8)
    face[10:20, 10:20] = 200
    seen = {name: disturb(face) for name, disturb in CONDITIONS.items()}
    assert (seen["6 pixels to the right"][:, 6:] == face[:, :-6]).all()
    assert (seen["3 pixels down"][3:] == face[:-3]).all()
    assert seen["brightness x 0.25"].max() == 50
    assert (seen["scaled by 1.3"] > 100).sum() > 1.4 * (face > 100).sum()
    # Counter-clockwise, by 60 degrees: what was left of the middle is below it.
    assert seen["turned by 60 degrees"][24:, :24].sum() > seen["turned by 60 degrees"][:24, :24].sum()


def test_each_condition_is_measured(validation: Split) -> None:
    def sure_of_bright_ones(faces: np.ndarray) -> np.ndarray:
        bright = faces.mean(axis=(1, 2, 3)) > 0
        return np.eye(7, dtype=np.float32)[np.where(bright, 3, 0)] * np.float32(0.93) + np.float32(0.01)

    told: list[str] = []
    found = measure_robustness(sure_of_bright_ones, validation, tell=told.append)
    assert told == list(CONDITIONS) == [each.name for each in found.conditions]
    dark = next(each for each in found.conditions if each.name == "brightness x 0.25")
    assert dark.accuracy == (validation.labels == CLASSES.index("angry")).mean()
    assert found.mean == pytest.approx(np.mean([each.accuracy for each in found.conditions]))
    assert found.to_json()["conditions"]["as is"]["accuracy"] == found.conditions[0].accuracy


def test_unclear_is_what_is_right_too_seldom() -> None:
    confidence = np.linspace(0, 1, 4001, dtype=np.float32)[:-1]
    rng = np.random.default_rng(1)
    drawn = rng.random(len(confidence))
    # Calibrated: an answer is right as often as it is sure.
    assert unclear_below(confidence, drawn < confidence) == pytest.approx(0.6, abs=0.04)
    # Surer than it should be.
    assert unclear_below(confidence, drawn < confidence**2) == pytest.approx(0.6**0.5, abs=0.04)
    mixed = rng.permutation(len(confidence))
    assert unclear_below(confidence[mixed], (drawn < confidence)[mixed]) == unclear_below(
        confidence, drawn < confidence
    )
    assert unclear_below(confidence, np.ones(len(confidence), bool)) == 0.0
    assert unclear_below(confidence, np.zeros(len(confidence), bool)) == 1.0


def test_from_the_command_line(linear_models: Path, fer_csv: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(evaluate)
    arguments = [str(linear_models / "2"), "--data", str(fer_csv), "--robustness", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "turned by 45 degrees" in result.output
    assert "mean" in result.output
    assert (tmp_path / "conditions.png").read_bytes().startswith(b"\x89PNG")
