"""What a study found: the report of any study, and its best architecture trained in full and exported."""

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from faces.contract import to_input
from trainer.commands.search import app
from trainer.data.split import Split
from trainer.errors import TrainerError
from trainer.networks.scores import softmax
from trainer.networks.spec import ResidualSpec, Stage, to_json
from trainer.networks.spec_cost import Budget
from trainer.run_directory import load_facts
from trainer.search.claim import claim
from trainer.search.plan import Plan
from trainer.search.report import find, pareto, ranked
from trainer.search.study import Outcome, create_study, open_study, outcomes
from trainer.training.checkpoint import load_run
from trainer.training.config import TrainConfig

SPEC = ResidualSpec(0, (Stage(24, 1, "basic"),), 0, "relu", 0.0)


def fill(location: str, count: int) -> None:
    """A study whose accuracy depends on the squeeze, with a pruned trial and a failed one among the first."""
    create_study("s", location, Plan("efficient", TrainConfig(model="random", epochs=3), Budget(), trials=count))
    study, plan = open_study("s", location)
    while claimed := claim(study, plan, location):
        number = len(outcomes(study))
        accuracy = 0.5 + 0.2 * (claimed.trial.params["squeeze"] == 8) + number / 1000
        if number == 2:
            claimed.trial.set_user_attr("error", "SIGSEGV: <going down>")
            study.tell(claimed.trial, state=optuna.trial.TrialState.FAIL)
            continue
        for epoch in range(1, 2 if number == 3 else 4):
            claimed.trial.report(accuracy - 0.1 / epoch, epoch)
        if number == 3:
            study.tell(claimed.trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(claimed.trial, accuracy)


def outcome(number: int, state: str, accuracy: float | None, macs: int) -> Outcome:
    return Outcome(number, state, SPEC, accuracy, (), 1, macs, 1.0, None)


def test_the_report_has_every_trial(tmp_path: Path) -> None:
    location = str(tmp_path / "s.journal")
    fill(location, 40)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["report", "s", "--storage", location, "--out", str(out)])
    assert result.exit_code == 0, result.output
    study, _ = open_study("s", location)
    best = ranked(outcomes(study))[0]
    assert f"{best.accuracy:.4f}" in result.output

    values = json.loads((out / "s.json").read_text())
    assert len(values["trials"]) == values["plan"]["trials"] == 40
    assert max(trial["accuracy"] or 0 for trial in values["trials"]) == best.accuracy
    assert [trial["error"] for trial in values["trials"] if trial["state"] == "failed"] == ["SIGSEGV: <going down>"]
    assert (out / "s.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 3])
def test_a_report_may_be_of_few_trials(tmp_path: Path, count: int) -> None:
    location = str(tmp_path / "s.journal")
    fill(location, count)
    result = CliRunner().invoke(app, ["report", "s", "--storage", location, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "s.json").read_text())["trials"]) == count
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_without_trials_is_said_to_be_one(tmp_path: Path) -> None:
    create_study("s", str(tmp_path / "j"), Plan("efficient", TrainConfig(model="random"), Budget()))
    with pytest.raises(TrainerError, match="study 's' has no trials yet"):
        find(*open_study("s", str(tmp_path / "j")))


def test_complete_trials_go_before_pruned_ones_and_nobody_beats_the_front() -> None:
    trials = [
        outcome(0, "complete", 0.6, 50),
        outcome(1, "pruned", 0.9, 10),
        outcome(2, "complete", 0.7, 80),
        outcome(3, "complete", 0.65, 90),
        outcome(4, "failed", 0.95, 5),
        outcome(5, "complete", 0.6, 60),
        outcome(6, "running", 0.99, 5),
    ]
    assert [trial.number for trial in ranked(trials)] == [2, 3, 0, 5, 1]
    assert [trial.number for trial in pareto(trials)] == [0, 2]


def test_the_best_is_trained_in_full_once_and_exported(tmp_path: Path, fer_csv: Path, validation: Split) -> None:
    location = str(tmp_path / "s.journal")
    create_study("s", location, Plan("efficient", TrainConfig(model="random"), Budget(), trials=2))
    study, _ = open_study("s", location)
    for accuracy in (0.6, 0.5):
        trial = study.ask()
        for key, value in (("spec", to_json(SPEC)), ("parameters", 1), ("macs", 1), ("accuracy", accuracy)):
            trial.set_user_attr(key, value)
        study.tell(trial, accuracy)
    config = tmp_path / "full.yaml"
    config.write_text("{model: random, epochs: 9, batch_size: 64, warmup_epochs: 0, ema: 0.5}")
    command = ["export", "s", "--data", str(fer_csv), "--storage", location, "--config", str(config)]
    command += ["--out", str(tmp_path / "runs"), "--repository", str(tmp_path / "repository")]
    trained = CliRunner().invoke(app, [*command, "--train-only", "--set", "epochs=2"])
    assert trained.exit_code == 0, trained.output
    run = tmp_path / "runs" / "s-trial0"
    assert [path.name for path in run.parent.iterdir()] == ["s-trial0"]
    assert load_facts(run)["search"] == {"study": "s", "trial": 0, "accuracy": 0.6}  # type: ignore[typeddict-item]
    assert not (tmp_path / "repository").exists()

    log = (run / "log.csv").read_bytes()
    exported = CliRunner().invoke(app, [*command, "--set", "epochs=2"])
    assert exported.exit_code == 0, exported.output
    assert "finished already" in exported.output
    assert (run / "log.csv").read_bytes() == log
    signature = tf.saved_model.load(str(tmp_path / "repository" / "random" / "1")).signatures["serving_default"]
    faces = to_input(validation.images)
    expected = softmax(load_run(run).predict(faces, verbose=0))
    np.testing.assert_allclose(signature(faces=tf.constant(faces))["scores"].numpy(), expected, atol=1e-4)

    again = CliRunner().invoke(app, [*command, "--set", "epochs=2"])
    assert "random/1 already" in again.output.replace("\n", "")
    better = CliRunner().invoke(app, [*command, "--set", "epochs=2", "--calibrate", "--half"])
    assert better.exit_code == 0, better.output
    assert sorted(path.name for path in (tmp_path / "repository" / "random").iterdir()) == ["1", "2"]

    other = CliRunner().invoke(app, [*command, "--set", "epochs=3"])
    assert "epochs: was 2 when this run began and is 3 now" in str(other.exception)
    many = CliRunner().invoke(app, [*command, "--top", "3"])
    assert "study 's': 2 trials have a score, and --top asks for 3" in str(many.exception)
