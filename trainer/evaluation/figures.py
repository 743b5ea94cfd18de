"""An evaluation as JSON, as one PNG, and as one HTML file that needs nothing beside it."""

import base64
import html
import io
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from faces.contract import CLASSES
from trainer.evaluation.evaluate import Evaluation, Report
from trainer.files import write_files

COLOURS = ("#2b6cb0", "#c05621")
GREY = "#a0aec0"

Panel = Callable[[Axes], None]

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a202c; background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin-bottom: 0; }
h2 { margin-top: 2.5rem; overflow-wrap: anywhere; }
.facts, .notes { color: #4a5568; font-size: 0.9rem; overflow-wrap: anywhere; }
.verdict { padding: 0.75rem 1rem; border-left: 4px solid #2b6cb0; background: #ebf4fb; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid #e2e8f0; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; font-weight: normal; color: #4a5568; }
img { width: 100%; height: auto; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="facts">$facts</p>
$body
<h2>How to read this</h2>
<ul class="notes">
<li>Intervals are 95 % bootstrap intervals over images: they do not cover training anew or faces of another kind.</li>
<li>Macro-F1 is the mean of the classes' F1 scores, each class counting alike.</li>
<li>Log-loss is the mean negative logarithm of the score that the label got; guessing evenly gives 1.946 nats.</li>
<li>Expected calibration error is the mean distance of confidence from accuracy over $bins bins of confidence.</li>
<li>FLOPs count two for each multiply-accumulate of convolutions and matrix products.</li>
<li>Latency is a median on the machine that evaluated, and means little on another.</li>
</ul>
</body>
</html>
""")


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
    """Write evaluation.json, evaluation.png and evaluation.html.

    Returns:
        The files' paths.

    Raises:
        TrainerError: the directory cannot be written to.
    """
    files: dict[str, bytes] = {
        "evaluation.json": (json.dumps(report.to_json(), indent=2) + "\n").encode(),
        "evaluation.png": _png(_overview(report)),
        "evaluation.html": to_html(report).encode(),
    }
    return write_files(directory, files)


def to_html(report: Report) -> str:
    """One HTML document with its figures inlined; it loads nothing."""
    first = report.evaluations[0]
    facts = [f"{first.metrics.count:,} images of {report.split}"]
    if report.flip:
        facts.append("scores averaged over each face and its mirror image (parameters, FLOPs and latency: one pass)")
    if digest := report.data.get("sha256"):
        facts.append(f"data sha256 {digest}")
    body = []
    if report.verdict:
        body.append(f'<p class="verdict">{html.escape(report.verdict)}</p>')
    columns = [summary(evaluation) for evaluation in report.evaluations]
    rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
    body.append(_table(["", *map(title, report.evaluations)], rows))
    if report.paired:
        body.append(_image(_figure(_comparison(report)), "accuracy and recall of both models"))
        body.append(_table(["on the same images", ""], paired_rows(report)))
    for evaluation in report.evaluations:
        body.append(f"<h2>{html.escape(title(evaluation))}</h2>")
        body.append(_image(_figure(_panels(evaluation)), "confusion matrix and reliability diagram"))
        body.append(_table(["class", "precision", "recall", "F1", "images"], class_rows(evaluation)))
    return _PAGE.substitute(
        title=html.escape(f"Evaluation on {report.split}"),
        facts=html.escape("; ".join(facts)),
        body="\n".join(body),
        bins=len(first.reliability.count),
    )


def class_rows(evaluation: Evaluation) -> list[list[str]]:
    """Class, precision, recall, F1 and number of images of each class."""
    metrics = evaluation.metrics
    return [
        [name, *(f"{figure[name]:.3f}" for figure in (metrics.precision, metrics.recall, metrics.f1)), f"{count:,}"]
        for name, count in metrics.support.items()
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
        ["its mid-p variant", f"p = {paired.mid_p:.3g}"],
    ]


def draw_confusion(axes: Axes, evaluation: Evaluation) -> None:
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


def draw_reliability(axes: Axes, evaluation: Evaluation) -> None:
    """Accuracy over confidence; the further a bar ends from the diagonal, the worse the scores are calibrated."""
    bins = evaluation.reliability
    width = bins.edges[1] - bins.edges[0]
    middles = bins.edges[:-1] + width / 2
    axes.bar(middles, bins.accuracy, width, color=COLOURS[0], edgecolor="white", label="accuracy")
    share = bins.count / bins.count.sum()
    axes.bar(middles, share, width / 3, color=GREY, edgecolor="white", label="share of images")
    axes.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
    axes.set_title(f"Reliability, expected calibration error {bins.ece:.3f}")
    axes.legend(loc="upper left", frameon=False)


def draw_accuracy(axes: Axes, report: Report) -> None:
    """Both accuracies with their intervals."""
    for place, (evaluation, colour) in enumerate(zip(report.evaluations, COLOURS, strict=False)):
        low, high = evaluation.interval
        accuracy = evaluation.metrics.accuracy
        axes.errorbar(accuracy, -place, xerr=[[accuracy - low], [high - accuracy]], fmt="o", capsize=4, color=colour)
        axes.annotate(f"{accuracy:.4f}", (accuracy, -place), (0, 8), textcoords="offset points", ha="center")
    axes.set_yticks([0, -1], ["first", "second"])
    axes.set(ylim=(-1.6, 0.6), xlabel="accuracy, 95 % interval", title="Accuracy")
    axes.grid(axis="x", alpha=0.3)


def draw_recall(axes: Axes, report: Report) -> None:
    """Recall by class, the two models side by side."""
    places = np.arange(len(CLASSES))
    for index, (evaluation, colour) in enumerate(zip(report.evaluations, COLOURS, strict=False)):
        recall = list(evaluation.metrics.recall.values())
        axes.bar(places + 0.4 * index - 0.2, recall, 0.4, color=colour, label=("first", "second")[index])
    axes.set_xticks(places, CLASSES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(ylim=(0, 1), ylabel="recall", title="Recall by class")
    axes.legend(frameon=False, ncols=2)


def _panels(evaluation: Evaluation) -> list[Panel]:
    return [partial(draw_confusion, evaluation=evaluation), partial(draw_reliability, evaluation=evaluation)]


def _comparison(report: Report) -> list[Panel]:
    return [partial(draw_accuracy, report=report), partial(draw_recall, report=report)]


def _draw(part: FigureBase, panels: list[Panel]) -> None:
    for panel, axes in zip(panels, part.subplots(1, len(panels)), strict=True):
        panel(axes)


def _figure(panels: list[Panel]) -> Figure:
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    _draw(figure, panels)
    return figure


def _overview(report: Report) -> Figure:
    rows = len(report.evaluations) + (report.paired is not None)
    figure = Figure(figsize=(11, 5.7 * rows), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False)[:, 0]
    for part, evaluation in zip(parts, report.evaluations, strict=False):
        accuracy = _with_interval(evaluation.metrics.accuracy, evaluation.interval)
        part.suptitle(f"{title(evaluation)} on {report.split}: accuracy {accuracy}")
        _draw(part, _panels(evaluation))
    if report.paired:
        _draw(parts[-1], _comparison(report))
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _image(figure: Figure, meaning: str) -> str:
    data = base64.b64encode(_png(figure)).decode()
    return f'<img alt="{meaning}" src="data:image/png;base64,{data}">'


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _with_interval(value: float, interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{value:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"
