"""What a search found, as rows of a table, JSON and PNG."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.errors import TrainerError
from trainer.files import write_files
from trainer.networks.spec import ArchitectureSpec, PlainSpec
from trainer.search.plan import Plan
from trainer.search.study import Outcome, dump_outcome, outcomes

_COLOURS = {"complete": "#2b6cb0", "pruned": "#a0aec0", "failed": "#c05621", "running": "#d69e2e"}


@dataclass(frozen=True)
class Findings:
    """All that a report says."""

    # Of the study.
    name: str
    # What every trial did alike.
    plan: Plan
    # `trainer.data.dataset.Dataset.facts` of its data; empty before the first run.
    data: dict[str, Any]
    # In trial order.
    trials: Sequence[Outcome]


def find(study: optuna.Study, plan: Plan) -> Findings:
    """Read a study.

    Raises:
        TrainerError: nothing was trained yet.
    """
    trials = outcomes(study)
    if not trials:
        raise TrainerError(f"study {study.study_name!r} has no trials yet; `search run` trains them")
    return Findings(study.study_name, plan, study.user_attrs.get("data", {}), trials)


def ranked(trials: Sequence[Outcome]) -> list[Outcome]:
    """Trials that have an accuracy, best first; those trained to the end before those that were not.

    A pruned trial had fewer epochs, so that its accuracy does not compare.
    """
    scored = [trial for trial in trials if trial.accuracy is not None and trial.state in ("complete", "pruned")]
    return sorted(scored, key=lambda trial: (trial.state != "complete", -(trial.accuracy or 0), trial.macs))


def pareto(trials: Sequence[Outcome]) -> list[Outcome]:
    """The complete trials that no other beats in accuracy for as few multiply-accumulates, cheapest first."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.accuracy is not None]
    front: list[Outcome] = []
    for trial in sorted(complete, key=lambda trial: (trial.macs, -(trial.accuracy or 0))):
        if not front or (trial.accuracy or 0) > (front[-1].accuracy or 0):
            front.append(trial)
    return front


def describe(spec: ArchitectureSpec) -> str:
    """A spec in one line."""
    if isinstance(spec, PlainSpec):
        modules = (f"{m.filters}k{m.kernel}{'s2' if m.stride == 2 else ''} {m.activation}" for m in spec.modules)
        return f"{', '.join(modules)}; {spec.pooling} pooling"
    stages = " ".join(f"{stage.width}x{stage.depth}" for stage in spec.stages)
    gate = f", SE 1/{spec.squeeze}" if spec.squeeze else ""
    stem = f"stem {spec.stem}, " if spec.stem else ""
    return f"{stem}{spec.stages[0].block} {stages}{gate}, {spec.activation}, dropout {spec.dropout}"


def row(trial: Outcome) -> list[str]:
    """A trial as the cells of a table: number, state, accuracy, epochs, multiply-accumulates, parameters, minutes and
    architecture, or why it failed."""
    return [
        str(trial.number),
        trial.state,
        "" if trial.accuracy is None else f"{trial.accuracy:.4f}",
        str(len(trial.history)),
        f"{trial.macs / 1e6:.1f} M",
        f"{trial.parameters / 1e6:.3f} M",
        "" if trial.seconds is None else f"{trial.seconds / 60:.1f}",
        describe(trial.spec) + (f" ({trial.error})" if trial.error else ""),
    ]


HEADINGS = ("trial", "state", "accuracy", "epochs", "MACs", "parameters", "minutes", "architecture")


def write_report(findings: Findings, directory: Path) -> list[Path]:
    """Write NAME.json and NAME.png.

    Returns:
        The files' paths.

    Raises:
        TrainerError: the directory cannot be written to.
    """
    contents = {f"{findings.name}.json": to_json(findings).encode(), f"{findings.name}.png": _png(findings)}
    return write_files(directory, contents)


def to_json(findings: Findings) -> str:
    """The findings as JSON, a line for each trial."""
    head = {"study": findings.name, "plan": findings.plan.to_json(), "data": findings.data}
    text = json.dumps(head, indent=1).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(dump_outcome(trial))}" for trial in findings.trials)
    return f'{text},\n "trials": [\n{lines}\n ]\n}}\n'


def _png(findings: Findings) -> bytes:
    figure = Figure(figsize=(13, 9), layout="constrained")
    above, below = figure.subplots(2, 1)
    _draw_history(above, findings.trials)
    _draw_cost(below, findings.trials)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _points(axes: Axes, trials: Sequence[Outcome], x: Callable[[Outcome], float]) -> None:
    for state, colour in _COLOURS.items():
        some = [trial for trial in trials if trial.state == state and trial.accuracy is not None]
        if some:
            axes.scatter(
                [x(trial) for trial in some],
                [trial.accuracy or 0 for trial in some],
                color=colour,
                label=state,
                zorder=2,
            )
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)


def _draw_history(axes: Axes, trials: Sequence[Outcome]) -> None:
    _points(axes, trials, lambda trial: trial.number)
    complete = [trial for trial in trials if trial.state == "complete" and trial.accuracy is not None]
    if complete:
        best = np.maximum.accumulate([trial.accuracy or 0 for trial in complete])
        axes.step([trial.number for trial in complete], best, where="post", color="black", label="best so far")
    for trial in trials:
        if trial.accuracy is None:
            axes.axvline(trial.number, color=_COLOURS[trial.state], alpha=0.3, linestyle=":")
    axes.set(xlabel="trial", title="Accuracy by trial (a dotted line is one without a score)")
    _legend(axes)


def _draw_cost(axes: Axes, trials: Sequence[Outcome]) -> None:
    _points(axes, trials, lambda trial: trial.macs / 1e6)
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter("{x:g}")
    if front := pareto(trials):
        x, y = [trial.macs / 1e6 for trial in front], [trial.accuracy or 0 for trial in front]
        axes.step(x, y, where="post", color="black", label="Pareto front", zorder=1)
        for trial in front:
            place = (trial.macs / 1e6, trial.accuracy or 0)
            axes.annotate(str(trial.number), place, (4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="million multiply-accumulates of a face, logarithmic", title="Accuracy against cost")
    _legend(axes)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
