"""An evaluation as tables, as JSON and as one PNG."""

import io
import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from faces.contract import CLASSES
from trainer.evaluation.measure import Evaluation, Report
from trainer.files import write_files

BLUE = "#2b6cb0"
ORANGE = "#dd6b20"
GREY = "#a0aec0"


def summary(evaluation: Evaluation) -> dict[str, str]:
    """The figures of one model, worded for a table."""
    metrics, cost, majority = evaluation.metrics, evaluation.cost, evaluation.majority
    flops = "n/a: a shape in the graph is not fixed"
    if cost is None:
        flops = "n/a: a server does not show its graph"
    elif cost.macs is not None:
        flops = f"{2 * cost.macs / 1e6:,.1f} M ({cost.macs / 1e6:,.1f} M multiply-accumulates)"
    return {
        "accuracy": _with_interval(metrics.accuracy, evaluation.interval),
        "macro-F1": f"{metrics.macro_f1:.4f}",
        "log-loss": f"{metrics.log_loss:.4f} nats",
        "expected calibration error": f"{evaluation.reliability.ece:.4f}",
        "accuracy against FER+ majority": (
            f"{_with_interval(majority.accuracy, majority.interval)}, {majority.count:,} images"
            if majority
            else "n/a: no votes"
        ),
        "parameters": f"{cost.parameters:,}" if cost else "n/a: a server does not show its graph",
        "FLOPs of a face": flops,
        "latency, batch of 1": f"{evaluation.latency.batch_1_ms:.2f} ms",
        "latency, batch of 64": f"{evaluation.latency.batch_64_ms:.2f} ms",
    }


def title(evaluation: Evaluation) -> str:
    """The model as the user called it, with the version that a server answered with."""
    return evaluation.source if evaluation.version is None else f"{evaluation.source} (version {evaluation.version})"


def write_report(report: Report, directory: Path) -> list[Path]:
    """Write evaluation.json and evaluation.png, and conditions.png where robustness was measured.

    Returns:
        The files' paths.

    Raises:
        TrainerError: the directory cannot be written to.
    """
    buffer = io.BytesIO()
    _overview(report).savefig(buffer, format="png", dpi=110)
    files = {}
    if any(evaluation.robustness for evaluation in report.evaluations):
        conditions = io.BytesIO()
        _conditions(report).savefig(conditions, format="png", dpi=110)
        files["conditions.png"] = conditions.getvalue()
    document = json.dumps(report.to_json(), indent=2) + "\n"
    return write_files(directory, {"evaluation.json": document.encode(), "evaluation.png": buffer.getvalue(), **files})


def class_rows(evaluation: Evaluation) -> list[list[str]]:
    """Class, precision, recall, F1 and number of images of each class."""
    metrics = evaluation.metrics
    return [
        [name, *(f"{figure[name]:.3f}" for figure in (metrics.precision, metrics.recall, metrics.f1)), f"{count:,}"]
        for name, count in metrics.support.items()
    ]


def condition_rows(report: Report) -> list[list[str]]:
    """Accuracy under each condition and their mean, a column a model; none where it was not measured."""
    found = [evaluation.robustness for evaluation in report.evaluations if evaluation.robustness]
    if not found:
        return []
    rows = [
        [each[0].name, *(f"{condition.accuracy:.3f}" for condition in each)]
        for each in zip(*(each.conditions for each in found), strict=True)
    ]
    return [
        *rows,
        ["mean", *(f"{each.mean:.4f}" for each in found)],
        ["unclear below a confidence of", *(f"{each.unclear_below:.3f}" for each in found)],
    ]


def paired_rows(report: Report) -> list[list[str]]:
    """The paired comparison, figure by figure; none for one model."""
    paired = report.paired
    if paired is None:
        return []
    return [
        ["only the first is right", f"{paired.only_a:,}"],
        ["only the second is right", f"{paired.only_b:,}"],
        ["difference in accuracy", _with_interval(paired.difference, paired.interval, sign="+")],
        ["McNemar's exact test", f"p = {paired.p_value:.3g}"],
    ]


def _draw_confusion(axes: Axes, evaluation: Evaluation) -> None:
    """Rows are labels, shaded by the share of the row; the counts stand in the cells."""
    counts = np.array(evaluation.metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]:,}\n{share:.0%}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.5 else "black")
    axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(xlabel="predicted", ylabel="label", title="Confusion matrix")


def _draw_reliability(axes: Axes, evaluation: Evaluation) -> None:
    """Accuracy over confidence; the further a bar ends from the diagonal, the worse the scores are calibrated."""
    bins = evaluation.reliability
    width = bins.edges[1] - bins.edges[0]
    middles = bins.edges[:-1] + width / 2
    axes.bar(middles, bins.accuracy, width, color=BLUE, edgecolor="white", label="accuracy")
    share = bins.count / bins.count.sum()
    axes.bar(middles, share, width / 3, color=GREY, edgecolor="white", label="share of images")
    axes.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
    axes.set_title(f"Reliability, expected calibration error {bins.ece:.3f}")
    axes.legend(loc="upper left", frameon=False)


def _conditions(report: Report) -> Figure:
    """A row a condition, a dot a model, from clean to compressed."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    for evaluation, colour, marker in zip(report.evaluations, (BLUE, ORANGE), "os", strict=False):
        if (found := evaluation.robustness) is None:
            continue
        names = [each.name for each in found.conditions]
        label = f"{title(evaluation)}, mean {found.mean:.3f}"
        axes.plot([each.accuracy for each in found.conditions], names, marker, color=colour, label=label)
        axes.axvline(found.mean, color=colour, linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.grid(axis="y", color=GREY, linewidth=0.4)
    axes.set(xlabel="accuracy", title=f"{report.split} as cameras may give it", axisbelow=True)
    axes.legend(frameon=False)
    return figure


def _overview(report: Report) -> Figure:
    rows = len(report.evaluations)
    figure = Figure(figsize=(11, 5.7 * rows), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    for part, evaluation in zip(parts, report.evaluations, strict=True):
        accuracy = _with_interval(evaluation.metrics.accuracy, evaluation.interval)
        part.suptitle(f"{title(evaluation)} on {report.split}: accuracy {accuracy}")
        left, right = part.subplots(1, 2)
        _draw_confusion(left, evaluation)
        _draw_reliability(right, evaluation)
    return figure


def _with_interval(value: float, interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{value:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"
