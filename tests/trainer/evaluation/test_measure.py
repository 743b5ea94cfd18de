"""`python -m trainer evaluate`: figures, cost, comparison and report of real SavedModels and a real server."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import typer
from typer.testing import CliRunner, Result

from faces.contract import CLASSES, to_input
from trainer.commands.evaluate import evaluate as command
from trainer.data.split import Split
from trainer.errors import TrainerError
from trainer.evaluation.figures import summary, write_report
from trainer.evaluation.measure import Report, measure
from trainer.evaluation.measured_cost import graph_cost, latency
from trainer.evaluation.predictor import SavedModelPredictor, open_predictor
from trainer.networks.scores import FLIPPED, PLAIN, over_views

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def voted(validation: Split) -> Split:
    """All annotators agree with the label, but for two ties and ten faces that they call sad."""
    votes = np.eye(7, dtype=np.float32)[validation.labels]
    votes[:2] = 1 / 7
    votes[2:12] = np.eye(7)[CLASSES.index("sad")]
    return replace(validation, votes=votes)


@pytest.fixture(scope="module")
def report(linear_models: Path, voted: Split) -> Report:
    """The better model against the worse one."""
    sources = [str(linear_models / "2"), str(linear_models / "1")]
    return measure(sources, voted, "PublicTest", data={"sha256": "abc"}, runs=3)


@pytest.fixture(scope="module")
def predictions(linear_models: Path, validation: Split) -> dict[str, np.ndarray]:
    """Top classes by version, from TensorFlow alone."""
    faces = tf.constant(to_input(validation.images))
    loaded = {version: tf.saved_model.load(str(linear_models / version)) for version in ("1", "2")}
    answers = {version: model.signatures["serving_default"](faces=faces) for version, model in loaded.items()}
    return {version: answer["scores"].numpy().argmax(axis=1) for version, answer in answers.items()}


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, arguments)))


def test_figures_are_those_of_the_models_answers(
    report: Report, voted: Split, predictions: dict[str, np.ndarray]
) -> None:
    better, worse = report.evaluations
    for evaluation, version in ((better, "2"), (worse, "1")):
        right = predictions[version] == voted.labels
        assert evaluation.metrics.accuracy == right.mean()
        assert evaluation.interval[0] <= right.mean() <= evaluation.interval[1]
        np.testing.assert_array_equal(evaluation.correct, right)
        assert evaluation.majority is not None
        assert evaluation.majority.count == 68
        assert evaluation.majority.accuracy == (predictions[version] == voted.majority)[2:].mean()
        assert evaluation.reliability.count.sum() == 70
    assert 0.2 < worse.metrics.accuracy < 0.9 < better.metrics.accuracy


def test_the_comparison_is_paired_and_says_who_is_better(
    report: Report, voted: Split, predictions: dict[str, np.ndarray], linear_models: Path
) -> None:
    better, worse = predictions["2"] == voted.labels, predictions["1"] == voted.labels
    assert report.paired is not None
    assert (report.paired.only_a, report.paired.only_b) == ((better & ~worse).sum(), (worse & ~better).sum())
    assert report.paired.difference == pytest.approx(better.mean() - worse.mean())
    points = 100 * (better.mean() - worse.mean())
    found = f"{linear_models / '2'} is {points:.2f} points more accurate than {linear_models / '1'} (95 % interval +"
    assert report.verdict is not None
    assert found in report.verdict
    assert "chance alone seldom" in report.verdict


def test_the_sentence_names_the_better_one_first_and_claims_no_more_than_the_test(
    linear_models: Path, voted: Split
) -> None:
    worse, better = str(linear_models / "1"), str(linear_models / "2")
    swapped = measure([worse, better], voted, "PublicTest", runs=1).verdict
    assert swapped is not None
    assert re.search(rf"{better} is [\d.]+ points more accurate than {worse} \(95 % interval \+", swapped)
    same = measure([worse, worse], voted, "PublicTest", runs=1).verdict
    assert same is not None
    assert f"{worse} is as accurate as {worse}" in same
    assert "these images do not tell the two apart" in same


def test_flip_averages_each_face_with_its_mirror(linear_models: Path, validation: Split) -> None:
    score = open_predictor(linear_models / "1").scores
    plain, mirrored = (
        over_views(score, images, PLAIN) for images in (validation.images, validation.images[:, :, ::-1])
    )
    flipped = over_views(score, validation.images, FLIPPED)
    np.testing.assert_allclose(flipped, (plain + mirrored) / 2, atol=1e-6)
    assert np.abs(plain - mirrored).max() > 0.1
    assert flipped.dtype == np.float32


class Network(tf.Module):
    """One of each counted operation, and some that are not."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"full": (3, 3, 1, 8), "depthwise": (5, 5, 8, 2), "grouped": (3, 3, 4, 12), "dense": (12, 7)}
        self.kernels = {name: tf.Variable(tf.ones(shape) / 100) for name, shape in shapes.items()}

    @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 1], tf.float32, name="faces")])
    def classify(self, faces: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.relu(tf.nn.conv2d(faces, self.kernels["full"], 2, "SAME"))
        x = tf.nn.depthwise_conv2d(x, self.kernels["depthwise"], (1, 1, 1, 1), "VALID")
        x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
        x = tf.nn.conv2d(x, self.kernels["grouped"], 1, "SAME")
        scores = tf.nn.softmax(tf.reduce_mean(x, axis=(1, 2)) @ self.kernels["dense"])
        return {"scores": scores, "classes": tf.broadcast_to(tf.constant(CLASSES), tf.shape(scores))}


def test_cost_is_counted_from_the_graph(tmp_path: Path) -> None:
    network = Network()
    tf.saved_model.save(network, str(tmp_path), signatures={"serving_default": network.classify})
    cost = graph_cost(SavedModelPredictor(tmp_path))
    assert cost.parameters == 3 * 3 * 8 + 5 * 5 * 16 + 3 * 3 * 4 * 12 + 12 * 7
    # 24x24 after the stride, 20x20 without padding, 10x10 pooled; 16 channels in groups of 4.
    assert cost.macs == 24**2 * 8 * 9 + 20**2 * 16 * 25 + 10**2 * 12 * 9 * 4 + 12 * 7
    assert cost.flops == 2 * cost.macs


def test_latency_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """Three slow calls of each batch size, then five whose median is not their mean."""

        seconds = (90, 80, 70, 5, 1, 40, 2, 3)

        def __init__(self) -> None:
            self.calls: list[int] = []
            self.clock = 0.0

        def scores(self, faces: np.ndarray) -> np.ndarray:
            self.clock += self.seconds[self.calls.count(len(faces))] * len(faces)
            self.calls.append(len(faces))
            return np.zeros((len(faces), 7), np.float32)

    slow = Slow()
    # A clock that only the model moves: how fast this machine is does not matter.
    monkeypatch.setattr("trainer.evaluation.measured_cost.time.perf_counter", lambda: slow.clock)
    found = latency(slow.scores, runs=5)
    assert slow.calls == [1] * 8 + [64] * 8
    assert (found.batch_1_ms, found.batch_64_ms, found.runs) == (3_000, 64 * 3_000, 5)


def test_a_server_is_measured_alike_but_shows_no_graph(
    model_server: str, linear_models: Path, validation: Split
) -> None:
    sources = [f"{model_server}/linear@stable", str(linear_models / "1")]
    served, local = measure(sources, validation, "PublicTest", runs=2).evaluations
    assert served.metrics.confusion == local.metrics.confusion
    assert served.version == 1
    assert served.cost is None
    assert summary(served)["parameters"] == "n/a: a server does not show its graph"
    assert summary(local)["parameters"] == f"{48 * 48 * 7:,}"
    assert summary(local)["accuracy against FER+ majority"] == "n/a: no votes"
    assert served.latency.batch_1_ms > 0


def test_the_files_hold_the_report(report: Report, tmp_path: Path) -> None:
    written = write_report(report, tmp_path / "new" / "report")
    assert [path.name for path in written] == ["evaluation.json", "evaluation.png"]
    document = json.loads(written[0].read_text())
    assert document["images"] == 70
    assert document["models"][0]["accuracy"] == report.evaluations[0].metrics.accuracy
    assert document["models"][1]["macs"] == 48 * 48 * 7
    assert document["comparison"]["verdict"] == report.verdict
    assert written[1].read_bytes().startswith(PNG)


def test_the_command_prints_and_writes(linear_models: Path, fer_csv: Path, tmp_path: Path) -> None:
    done = run(linear_models / "2", "--data", fer_csv, "--flip", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["flip"] is True
    assert document["comparison"] is None
    assert document["data"]["sources"][0]["name"] == "fer2013.csv.gz"
    assert f"{document['models'][0]['macro_f1']:.4f}" in done.output
    assert "surprise" in done.output
    assert f"wrote {tmp_path}/evaluation.png" in done.output


def test_a_mistake_is_told_before_the_work(linear_models: Path, fer_csv: Path, tmp_path: Path) -> None:
    missing = run(linear_models / "2", "--data", fer_csv, "--split", "PrivateTest").exception
    assert isinstance(missing, TrainerError)
    assert "PrivateTest" in str(missing)
    file = tmp_path / "file"
    file.touch()
    refused = run("nowhere", "--data", fer_csv, "--out", file).exception
    assert isinstance(refused, TrainerError)
    assert str(refused) == f"{file}: cannot be written to: File exists"
    with pytest.raises(TrainerError, match="PublicTest has no images"):
        measure(["nowhere"], Split(np.zeros((0, 48, 48), np.uint8), np.zeros(0, np.uint8)), "PublicTest")
