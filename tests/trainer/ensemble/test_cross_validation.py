import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer
from typer.testing import CliRunner

from faces.contract import CLASSES, to_input
from trainer.commands.ensemble import ensemble as ensemble_command
from trainer.commands.export import export as export_command
from trainer.data.dataset import load
from trainer.data.split import Split
from trainer.ensemble import weights as weighting
from trainer.ensemble.cross_validation import METHODS, Rule, cross_validate, fit_rule, stratified_folds
from trainer.ensemble.saved import load_ensemble
from trainer.ensemble.teacher import consult, parse_source
from trainer.errors import ConfigError, ExportError, TrainingError
from trainer.evaluation.metrics import score
from trainer.networks.networks import build
from trainer.networks.scores import softmax, temper
from trainer.run_directory import load_facts
from trainer.training.checkpoint import load_run
from trainer.training.config import TrainConfig, dump_config


def noisy_members(*sharpness: float, faces: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(faces) % 7).astype(np.uint8)
    logits = np.stack([rng.normal(0, 1, (faces, 7)) + s * np.eye(7)[labels] for s in sharpness])
    return np.stack([softmax(each) for each in logits]).astype(np.float32), labels


def test_folds_are_even_and_hold_each_class_alike() -> None:
    labels = np.repeat(np.arange(7), [50, 5, 40, 100, 60, 30, 70])
    fold = stratified_folds(labels, 5, seed=1)
    assert np.ptp(np.bincount(fold)) <= 1
    for label in range(7):
        assert np.ptp(np.bincount(fold[labels == label], minlength=5)) <= 1
    assert (fold != stratified_folds(labels, 5, seed=2)).any()


def test_figures_are_of_faces_that_the_rule_did_not_see() -> None:
    # A dozen ignorant members on seventy faces: weights fitted on all of them look better than they are.
    scores, labels = noisy_members(*[0.0] * 12, faces=70)
    candidate = cross_validate("simplex", "simplex", scores, labels)
    in_sample = score(candidate.rule.combine(scores), labels)
    assert in_sample.log_loss < np.log(7) - 0.02
    assert candidate.metrics.log_loss > np.log(7)
    assert candidate.metrics.count == 70


def test_a_fold_is_scored_by_the_rule_of_the_other_folds() -> None:
    scores, labels = noisy_members(1.5, 1.0, 0.5, faces=210)
    expected = np.empty((210, 7), np.float32)
    fold = stratified_folds(labels, 3, seed=4)
    for index in range(3):
        rule = fit_rule("greedy", scores[:, fold != index], labels[fold != index])
        expected[fold == index] = rule.combine(scores[:, fold == index])
    candidate = cross_validate("greedy", "greedy", scores, labels, folds=3, seed=4)
    assert candidate.metrics == score(expected, labels)
    np.testing.assert_array_equal(candidate.rule.weights, weighting.greedy(scores, labels))


def test_every_method_beats_the_members_and_calibrates() -> None:
    scores, labels = noisy_members(1.5, 1.4, 1.3, faces=2100)
    single = cross_validate("one", "soft", scores[:1], labels)
    for method in METHODS:
        candidate = cross_validate(method, method, scores, labels)
        assert candidate.metrics.accuracy > single.metrics.accuracy + 0.05
        # Three votes can be split in few ways: no temperature makes shares of them into probabilities.
        assert (candidate.ece < 0.05) == (method != "hard")


def test_too_few_faces_for_the_folds_are_named() -> None:
    scores, labels = noisy_members(1.0, faces=4)
    with pytest.raises(TrainingError, match="PublicTest has 4 images, too few for 5-fold"):
        cross_validate("soft", "soft", scores, labels)


def test_a_rule_without_weights_is_the_hard_vote() -> None:
    scores, _ = noisy_members(1.0, 1.0, 1.0, faces=50)
    np.testing.assert_allclose(Rule(None, 1.0).combine(scores), weighting.hard_vote(scores), rtol=1e-5)


def write_run(directory: Path, seed: int, validation: Split, fer_csv: Path, filters: tuple[int, ...] = (8, 8)) -> Path:
    """A finished run of a head fitted in one step, on top of random features."""
    keras.utils.set_random_seed(seed)
    config = TrainConfig(model="residual", model_args={"filters": filters, "l2": 0}, weight_decay=0)
    model = build(config.model, config.model_args)
    faces = to_input(validation.images)
    hidden = keras.Model(model.input, model.get_layer("logits").input).predict(faces, verbose=0)
    # Least squares on a third of the faces, another third for each seed: better than chance, and not the same.
    part = np.arange(len(faces)) % 3 == seed % 3
    kernel, *_ = np.linalg.lstsq(hidden[part], 4 * np.eye(7)[validation.labels[part]] - 2, rcond=0.001)
    model.get_layer("logits").set_weights([kernel, np.zeros(7)])
    directory.mkdir()
    (directory / "config.yaml").write_text(dump_config(config))
    model.save_weights(directory / "best.weights.h5")
    metrics = score(softmax(model.predict(faces, verbose=0)), validation.labels)
    facts = {
        "epoch": seed,
        "parameters": model.count_params(),
        "PublicTest": asdict(metrics),
        "config": config.model_dump(mode="json"),
        "data": load([fer_csv]).facts,
    }
    (directory / "metrics.json").write_text(json.dumps(facts))
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, validation: Split, fer_csv: Path) -> list[Path]:
    home = tmp_path_factory.mktemp("runs")
    return [write_run(home / f"run{seed}", seed, validation, fer_csv) for seed in (1, 2)]


def command(function: object, *arguments: object) -> str:
    app = typer.Typer()
    app.command()(function)
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_writes_an_ensemble_that_exports_as_its_members_vote(
    runs: list[Path], fer_csv: Path, validation: Split, tmp_path: Path
) -> None:
    out, repository = tmp_path / "both", tmp_path / "repository"
    output = command(
        ensemble_command, *runs, "--data", fer_csv, "--method", "soft", "--flip", "--name", "both", "--out", out
    )
    for row in ("run1", "run2", *METHODS, "cannot be exported"):
        assert row in output
    summary = json.loads((out / "ensemble.json").read_text())
    assert [member["weight"] for member in summary["members"]] == [0.5, 0.5]
    assert set(summary["methods"]) == set(METHODS)
    assert summary["PublicTest"]["accuracy"] == summary["methods"]["soft"]["accuracy"]

    command(export_command, out, "--name", "both", "--repository", repository)
    version = repository / "both" / "1"
    faces = to_input(validation.images[:8])
    views = [softmax(load_run(run).predict(view, verbose=0)) for run in runs for view in (faces, faces[:, :, ::-1])]
    expected = temper(np.mean(views, axis=0), summary["temperature"])
    served = tf.saved_model.load(str(version)).signatures["serving_default"](faces=tf.constant(faces))
    np.testing.assert_allclose(served["scores"], expected, atol=1e-4)
    card = (version / "README.md").read_text()
    assert "| run1 | 0.500 |" in card
    assert "5-fold cross-validation" in card
    facts = json.loads((version / "metrics.json").read_text())
    assert facts["parameters"] == sum(load_facts(run)["parameters"] for run in runs)
    assert "runs" not in facts


def test_an_ensemble_is_read_back_from_anywhere(
    runs: list[Path], fer_csv: Path, validation: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs[0].parent)
    command(ensemble_command, "run1", "run2", "--data", fer_csv, "--out", "mixed")
    monkeypatch.chdir(tmp_path)
    combination, facts = load_ensemble(runs[0].parent / "mixed")
    assert [member.weight for member in combination.members] == [member["weight"] for member in facts["members"]]
    assert sum(member.weight for member in combination.members) == pytest.approx(1)
    assert list(facts["PublicTest"]["precision"]) == list(CLASSES)
    with pytest.raises(ExportError, match="mixed: an ensemble is calibrated already"):
        command(export_command, runs[0].parent / "mixed", "--calibrate", "--data", fer_csv)


def test_members_may_differ_in_their_views_and_say_what_is_unclear(
    runs: list[Path], fer_csv: Path, tmp_path: Path
) -> None:
    data = ["--data", fer_csv]
    options = ["--flip", "--plain", runs[0], "--method", "soft", "--out", tmp_path / "mixed"]
    command(ensemble_command, *runs, *data, *options)
    combination, _ = load_ensemble(tmp_path / "mixed")
    assert [member.views for member in combination.members][:2] == [("plain",), ("plain", "mirrored")]
    command(export_command, tmp_path / "mixed", *data, "--robustness", "--repository", tmp_path)
    card = (tmp_path / "ensemble/1/README.md").read_text()
    assert "Some members see the mirrored face too" in card
    assert "`unclear_below`" in card
    with pytest.raises(TrainingError, match="is none of the runs"):
        command(ensemble_command, *runs, *data, "--flip", "--plain", tmp_path)


def test_an_ensemble_that_only_says_whether_it_flips_has_two_views(
    runs: list[Path], fer_csv: Path, tmp_path: Path
) -> None:
    command(ensemble_command, *runs, "--data", fer_csv, "--method", "soft", "--out", tmp_path)
    path = tmp_path / "ensemble.json"
    facts = json.loads(path.read_text())
    assert [member.pop("views") for member in facts["members"]] == [["plain"]] * len(facts["members"])
    # As release 0.1.0 wrote it.
    path.write_text(json.dumps({**facts, "flip": True}))
    combination, read = load_ensemble(tmp_path)
    assert {member.views for member in combination.members} == {("plain", "mirrored")}
    assert "flip" not in read


def test_mistakes_are_named(runs: list[Path], fer_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="two or more runs, each named once"):
        command(ensemble_command, runs[0], runs[0], "--data", fer_csv)
    with pytest.raises(TrainingError, match=r"gone/metrics\.json: not a finished run"):
        command(ensemble_command, runs[0], tmp_path / "gone", "--data", fer_csv)
    (tmp_path / "metrics.json").write_text('{"epoch": 1}')
    with pytest.raises(TrainingError, match="lacks PublicTest, config, data, parameters"):
        load_facts(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_run(tmp_path)
    (tmp_path / "ensemble.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"ensemble\.json: not an ensemble"):
        load_ensemble(tmp_path)


def test_runs_of_another_public_test_are_refused(
    runs: list[Path], faces: Callable[..., Split], write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    other = write_csv(tmp_path / "other.csv", {"Training": faces(14, seed=8), "PublicTest": faces(14, seed=9)})
    reason = r"run1: trained with another PublicTest than this one \(fer2013\.csv\.gz\)"
    with pytest.raises(ConfigError, match=reason):
        command(ensemble_command, *runs, "--data", other, "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match=reason):
        command(export_command, runs[0], "--calibrate", "--data", other, "--repository", tmp_path / "models")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "models").exists()


def test_an_ensemble_teaches_what_it_answers(
    runs: list[Path], fer_csv: Path, validation: Split, tmp_path: Path
) -> None:
    command(ensemble_command, *runs, "--data", fer_csv, "--out", tmp_path / "both")
    teacher = consult([parse_source(str(tmp_path / "both"))], validation.images, 1)
    combination, _ = load_ensemble(tmp_path / "both")
    np.testing.assert_allclose(teacher.probabilities, combination.scores(to_input(validation.images)), atol=1e-6)
    [source] = teacher.facts["sources"]
    assert source["name"] == "both"
    alone = consult([parse_source(str(run)) for run in runs], validation.images[:1], 1)
    assert source["sha256"] not in {each["sha256"] for each in alone.facts["sources"]}


def test_a_run_is_loaded_in_float32_whatever_the_policy(runs: list[Path]) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = load_run(runs[0])
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
