"""What teachers make of each image, and the command that trains with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from faces.contract import to_input
from trainer.commands.train import train
from trainer.data.split import Split
from trainer.ensemble.teacher import consult, parse_source
from trainer.errors import ConfigError
from trainer.evaluation.predictor import open_predictor
from trainer.networks.scores import softmax
from trainer.training.checkpoint import load_run


def test_teachers_are_averaged_over_models_and_mirrors(trained_run: Path, training: Split) -> None:
    images = training.images[:5]
    model = load_run(trained_run)
    plain, mirrored = (softmax(model.predict(to_input(view), verbose=0)) for view in (images, images[:, :, ::-1]))
    one, both = (consult([parse_source(str(trained_run))] * 2, images, views) for views in (1, 2))
    np.testing.assert_allclose(one.probabilities, plain, atol=1e-5)
    np.testing.assert_allclose(both.probabilities, (plain + mirrored) / 2, atol=1e-5)
    assert both.facts["views"] == 2
    assert len({source["sha256"] for source in both.facts["sources"]}) == 1


def test_a_saved_model_teaches_too(linear_models: Path, training: Split) -> None:
    version = next(path.parent for path in sorted(linear_models.rglob("saved_model.pb")))
    teacher = consult([parse_source(str(version))], training.images[:9], 1)
    expected = open_predictor(str(version)).scores(to_input(training.images[:9]))
    np.testing.assert_allclose(teacher.probabilities, expected, atol=1e-6)


def test_the_command_trains_and_names_the_teacher(
    quick_config: Path, trained_run: Path, fer_csv: Path, tmp_path: Path
) -> None:
    train("student", [fer_csv], teacher=[f"{trained_run}:2"], out=tmp_path, config=quick_config, overrides=["epochs=1"])
    (source,) = json.loads((tmp_path / "metrics.json").read_text())["teacher"]["sources"]
    assert (source["name"], source["temperature"]) == (trained_run.name, 2)
    # Without its teacher it would not be the same run.
    with pytest.raises(ConfigError, match="teacher: not the one that this run began with"):
        train("student", [fer_csv], out=tmp_path, config=quick_config, overrides=["epochs=1"], resume=True)


def test_what_is_no_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a run directory"):
        parse_source(str(tmp_path))
