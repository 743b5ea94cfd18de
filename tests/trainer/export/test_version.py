"""Exported SavedModels against the Keras models that they were made of."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import typer
import yaml
from tensorflow_serving.apis import prediction_log_pb2
from typer.testing import CliRunner

from faces.contract import CLASSES, to_input
from trainer.commands.export import export as export_command
from trainer.data.split import Split
from trainer.ensemble.combination import Combination, Member
from trainer.errors import ExportError, TrainingError
from trainer.evaluation.metrics import score
from trainer.export.graph import Servable
from trainer.export.model_card import model_card
from trainer.export.version import next_version, require_tensorflow, write_version
from trainer.networks.networks import build
from trainer.networks.scores import FLIPPED, PLAIN
from trainer.run_directory import load_facts
from trainer.training.checkpoint import load_run

Signature = Callable[..., dict[str, Any]]


def random_model(seed: int, filters: tuple[int, ...]) -> keras.Model:
    """A model of random weights, every one of which matters, whose logits of different faces differ."""
    model = build("residual", {"filters": filters, "l2": 0})
    rng = np.random.default_rng(seed)
    positive = ("gamma", "variance")
    for weight in model.weights:
        values = (
            rng.uniform(0.5, 1.5, weight.shape) if weight.path.endswith(positive) else rng.normal(0, 0.3, weight.shape)
        )
        weight.assign(values)
    coarse = rng.uniform(-1, 1, (64, 6, 6))
    logits = np.array(model(coarse.repeat(8, axis=1).repeat(8, axis=2)[..., None].astype(np.float32)))
    kernel, bias = model.get_layer("logits").get_weights()
    scale = 1.5 / logits.std(axis=0)
    model.get_layer("logits").set_weights([kernel * scale, (bias - logits.mean(axis=0)) * scale])
    return model


def facts_of(combination: Combination, validation: Split) -> dict[str, Any]:
    return {
        "epoch": 3,
        "parameters": combination.parameters,
        "PublicTest": asdict(score(combination.scores(to_input(validation.images)), validation.labels)),
        "config": {"model": "residual"},
        "data": {"sources": [{"name": "a.csv", "images": 9}], "sha256": "ab", "training_images": 8, "leaked": 1},
    }


@pytest.fixture(scope="module")
def some_faces() -> np.ndarray:
    coarse = np.random.default_rng(9).uniform(-1, 1, (6, 6, 6, 1))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


@pytest.fixture(scope="module")
def combination() -> Combination:
    first, second = random_model(1, (8, 16)), random_model(2, (8, 8, 16))
    return Combination([Member(first, 0.7), Member(second, 0.3, views=FLIPPED)], temperature=1.7)


@pytest.fixture(scope="module")
def version(combination: Combination, validation: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("repository")
    return write_version(combination, "both", repository, facts_of(combination, validation))


@pytest.fixture(scope="module")
def signatures(version: Path) -> dict[str, Signature]:
    # The loaded model must outlive its signatures.
    loaded = tf.saved_model.load(str(version))
    return {name: lambda f, s=s, keep=loaded: s(faces=tf.constant(f)) for name, s in loaded.signatures.items()}


def test_an_ensemble_answers_as_its_members_computed_one_by_one(
    signatures: dict[str, Signature], combination: Combination, some_faces: np.ndarray
) -> None:
    first, second = (member.model for member in combination.members)
    softmax = keras.ops.softmax
    mirrored = np.ascontiguousarray(some_faces[:, :, ::-1])
    mean = 0.7 * np.array(softmax(first(some_faces))) + 0.15 * np.array(
        softmax(second(some_faces)) + softmax(second(mirrored))
    )
    expected = mean ** (1 / 1.7)
    expected /= expected.sum(axis=1, keepdims=True)
    assert expected.std(axis=0).max() > 0.05
    answer = signatures["serving_default"](some_faces)
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-5)
    np.testing.assert_allclose(signatures["explain"](some_faces)["scores"], expected, atol=1e-5)
    np.testing.assert_allclose(combination.scores(some_faces), expected, atol=1e-5)
    assert {tuple(row) for row in answer["classes"].numpy().tolist()} == {tuple(name.encode() for name in CLASSES)}


def test_no_faces_are_no_scores(signatures: dict[str, Signature]) -> None:
    empty = np.zeros((0, 48, 48, 1), np.float32)
    answer = signatures["serving_default"](empty)
    assert answer["scores"].shape == answer["classes"].shape == (0, 7)
    assert signatures["explain"](empty)["heatmap"].shape == (0, 48, 48)


def test_a_version_says_what_is_unclear(combination: Combination, some_faces: np.ndarray, tmp_path: Path) -> None:
    Servable(replace(combination, unclear_below=0.45)).save(tmp_path)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for count in (0, 1, len(some_faces)):
        answer = served(faces=tf.constant(some_faces[:count]))
        assert answer["unclear_below"].numpy().tolist() == [np.float32(0.45)] * count


def grad_cam(model: keras.Model, faces: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Selvaraju et al.'s equations 1 and 2, one face at a time: scaled to a maximum of 1, and the maxima before."""
    cam = keras.Model(model.input, [model.get_layer("cam").output, model.output])
    heats, maxima = [], []
    for face, index in zip(faces, classes, strict=True):
        with tf.GradientTape() as tape:
            maps, logits = cam(face[None])
            target = logits[0, index]
        alpha = tape.gradient(target, maps).numpy().mean(axis=(1, 2))
        raw = np.maximum(np.einsum("nk,nhwk->nhw", alpha, maps.numpy()), 0)
        heat = tf.image.resize(raw[..., None], (48, 48)).numpy()[0, ..., 0]
        heats.append(heat / heat.max() if heat.max() else heat)
        maxima.append(heat.max())
    return np.stack(heats), np.array(maxima)


def test_an_ensembles_heatmap_is_the_weighted_mean_of_its_members(
    signatures: dict[str, Signature], combination: Combination, some_faces: np.ndarray
) -> None:
    first, second = (member.model for member in combination.members)
    answer = signatures["explain"](some_faces)
    top = answer["scores"].numpy().argmax(axis=1)
    # Some member would have chosen otherwise, or this would not tell the ensemble's top class from a member's.
    assert (np.array(second(some_faces)).argmax(axis=1) != top).any()
    mirrored = grad_cam(second, np.ascontiguousarray(some_faces[:, :, ::-1]), top)[0][:, :, ::-1]
    expected = 0.7 * grad_cam(first, some_faces, top)[0] + 0.15 * (grad_cam(second, some_faces, top)[0] + mirrored)
    largest = expected.max(axis=(1, 2), keepdims=True)
    assert (largest > 0).sum() > 2
    expected /= np.where(largest, largest, 1)
    np.testing.assert_allclose(answer["heatmap"], expected, atol=1e-3)


@pytest.mark.parametrize("views", [PLAIN, FLIPPED])
def test_a_heatmap_lies_upright_on_the_face(views: tuple[str, ...], validation: Split, tmp_path: Path) -> None:
    # A network that sees nothing but how bright the face is can be explained by nothing but its bright pixels.
    face = keras.layers.Input((48, 48, 1))
    bright = keras.layers.ReLU(name="cam")(face)
    pooled = keras.layers.GlobalAveragePooling2D()(bright)
    model = keras.Model(face, keras.layers.Dense(len(CLASSES), kernel_initializer="ones")(pooled))
    combination = Combination([Member(model, views=views)])
    version = write_version(combination, "bright", tmp_path, facts_of(combination, validation))
    faces = to_input(validation.images[:7])
    heat = tf.saved_model.load(str(version)).signatures["explain"](faces=tf.constant(faces))["heatmap"].numpy()
    expected = np.maximum(faces[..., 0], 0)
    np.testing.assert_allclose(heat, expected / expected.max(axis=(1, 2), keepdims=True), atol=1e-5)


def test_half_precision_halves_the_weights_and_keeps_the_scores(
    version: Path, combination: Combination, validation: Split, some_faces: np.ndarray, tmp_path: Path
) -> None:
    facts = facts_of(combination, validation)
    half = write_version(combination, "both", tmp_path, facts, half=True)
    sizes = [(path / "variables" / "variables.data-00000-of-00001").stat().st_size for path in (version, half)]
    assert sizes[1] < 0.7 * sizes[0]
    loaded = tf.saved_model.load(str(half))
    scores = loaded.signatures["serving_default"](faces=tf.constant(some_faces))["scores"].numpy()
    difference = np.abs(scores - combination.scores(some_faces)).max()
    assert 0 < difference < 1e-2
    recorded = json.loads((half / "metrics.json").read_text())["export"]
    assert recorded["storage"] == "float16"
    assert 0 < recorded["largest_score_difference"] < 1e-2
    assert "kernels stored as float16" in (half / "README.md").read_text()


def test_warm_up_requests_are_valid_for_the_model(version: Path, signatures: dict[str, Signature]) -> None:
    records = tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests"))
    seen = set()
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "both"
        batch = tf.make_ndarray(request.inputs["faces"])
        assert len(signatures[request.model_spec.signature_name](batch)["scores"]) == len(batch)
        seen.add((request.model_spec.signature_name, len(batch)))
    assert seen == {("serving_default", 1), ("serving_default", 8), ("serving_default", 64), ("explain", 1)}


def test_versions_only_grow_and_nothing_half_done_stays(
    version: Path, combination: Combination, validation: Split
) -> None:
    home = version.parent
    (home / "7").mkdir()
    one = Combination(combination.members[:1])
    assert write_version(one, "both", home.parent, facts_of(one, validation)) == home / "8"
    assert next_version(home) == 9
    assert sorted(child.name for child in home.iterdir()) == ["1", "7", "8"]


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ExportError("disk full")

    monkeypatch.setattr("trainer.export.graph.write_warmup", fail)
    with pytest.raises(ExportError, match="disk full"):
        write_version(Combination([Member(random_model(1, (8,)))]), "broken", tmp_path, {})
    assert list((tmp_path / "broken").iterdir()) == []


def test_another_backend_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ExportError, match="Keras on torch; set KERAS_BACKEND=tensorflow"):
        require_tensorflow()


def test_an_unwritable_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=f"{tmp_path}/file/any: cannot be written: .*Not a directory"):
        write_version(Combination([Member(random_model(1, (8,)))]), "any", tmp_path / "file", {})


def test_a_card_says_what_was_left_out_and_who_is_a_member(combination: Combination, validation: Split) -> None:
    facts = facts_of(combination, validation)
    card = model_card("one", 4, facts)
    assert f"Accuracy {facts['PublicTest']['accuracy']:.4f}" in card
    assert "# one, version 4" in card
    assert "1 Training images that also stand in a held-out split" in card
    assert "`a.csv` (9 images)" in card
    assert "2024/1689" in card
    assert "alibrat" not in card
    members = [{"name": "left", "weight": 0.25, **facts}, {"name": "right", "weight": 0.75, **facts}]
    card = model_card("many", 1, {**facts, "members": members, "method": "simplex", "temperature": 1.2, "folds": 5})
    assert "| left | 0.250 |" in card
    assert "| right | 0.750 |" in card
    assert "temperature 1.200" in card
    assert "5-fold cross-validation" in card
    assert card.count("sha256") == 1


def test_a_card_says_once_how_each_was_taught(combination: Combination, validation: Split) -> None:
    taught = {"config": {"ferplus": 0.25}, "teacher": {"sources": [{"name": "large"}]}}
    facts = {**facts_of(combination, validation), **taught}
    card = model_card("one", 1, facts)
    assert "It was trained on targets of which 25% were a face's FER+ votes.\nIt was distilled from `large`." in card
    # Members of two kinds of data: a paragraph for each of them, and then what each member was taught.
    other = {**facts, "data": {**facts["data"], "sha256": "other"}}
    members = [{"name": "left", "weight": 0.5, **facts}, {"name": "right", "weight": 0.5, **other}]
    card = model_card("many", 1, {**facts, "members": members, "method": "soft"})
    assert card.count("sha256") == 2
    assert card.count("`left` was distilled from `large`.") == card.count("`right` was distilled from") == 1


def run_command(*arguments: object) -> Path:
    app = typer.Typer()
    app.command()(export_command)
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return Path(done.output.replace("\n", "").removeprefix("wrote "))


def test_a_trained_run_is_exported_as_it_was_measured(trained_run: Path, validation: Split, tmp_path: Path) -> None:
    version = run_command(trained_run, "--name", "quick", "--repository", tmp_path)
    assert version == tmp_path / "quick" / "1"
    loaded = tf.saved_model.load(str(version))
    answer = loaded.signatures["explain"](faces=tf.constant(to_input(validation.images)))
    facts = load_facts(trained_run)
    accuracy = (answer["scores"].numpy().argmax(axis=1) == validation.labels).mean()
    assert accuracy == pytest.approx(facts["PublicTest"]["accuracy"], abs=0.02)
    written = json.loads((version / "metrics.json").read_text())
    assert {key: written[key] for key in facts} == facts
    heat = answer["heatmap"].numpy()
    assert heat.shape == (len(validation), 48, 48)
    assert heat.min() >= 0
    # A class that no map speaks for, chosen because the others are ruled out, has an empty heatmap.
    np.testing.assert_allclose(heat.max(axis=(1, 2)), (heat > 0).any(axis=(1, 2)), atol=1e-5)
    top = answer["scores"].numpy().argmax(axis=1)
    expected, maxima = grad_cam(load_run(trained_run), to_input(validation.images), top)
    # Where hardly any map speaks for the class, scaling shows little but the rounding.
    clear = maxima > 1e-4
    assert clear.any()
    np.testing.assert_allclose(heat[clear], expected[clear], atol=1e-3)


def test_robustness_is_measured_on_what_is_exported(trained_run: Path, fer_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--robustness needs --data"):
        run_command(trained_run, "--robustness", "--repository", tmp_path)
    about = "Its teacher is `large`, MIT licence."
    options = ["--robustness", "--data", fer_csv, "--repository", tmp_path, "--about", about]
    version = run_command(trained_run, *options)
    written = json.loads((version / "metrics.json").read_text())["robustness"]
    assert len(written["conditions"]) == 21
    card = (version / "README.md").read_text()
    assert f"Mean accuracy of all 21 conditions {written['mean_accuracy']:.4f}" in card
    assert "| seen at 16 pixels |" in card
    assert about in card
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["model-index"][0]["results"][0]["metrics"][0]["type"] == "accuracy"
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = served(faces=tf.zeros((1, 48, 48, 1)))
    assert answer["unclear_below"].numpy()[0] == np.float32(written["unclear_below"])


def test_flip_and_calibration_are_measured_on_what_is_exported(
    trained_run: Path, fer_csv: Path, validation: Split, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="--flip and --calibrate need --data"):
        run_command(trained_run, "--flip", "--repository", tmp_path)
    version = run_command(trained_run, "--flip", "--calibrate", "--data", fer_csv, "--repository", tmp_path)
    written = json.loads((version / "metrics.json").read_text())
    assert written["views"] == ["plain", "mirrored"]
    assert written["temperature"] != 1
    assert "leaves the top class" in (version / "README.md").read_text()
    faces = to_input(validation.images)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    scores = served(faces=tf.constant(faces))["scores"].numpy()
    plain = Combination([Member(load_run(trained_run), views=FLIPPED)]).scores(faces)
    # Rounding may turn a near-tie over, and with it one of the 70 faces.
    second, first = np.sort(plain, axis=1)[:, -2:].T
    clear = first - second > 1e-4
    assert clear.any()
    np.testing.assert_array_equal(scores[clear].argmax(axis=1), plain[clear].argmax(axis=1))
    accuracy = (plain.argmax(axis=1) == validation.labels).mean()
    assert written["PublicTest"]["accuracy"] == pytest.approx(accuracy, abs=1.01 / 70)
    assert score(scores, validation.labels).log_loss < score(plain, validation.labels).log_loss


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothing/metrics\.json: not a finished run"):
        run_command(tmp_path / "nothing", "--repository", tmp_path)
