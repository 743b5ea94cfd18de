"""`python -m trainer evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.commands.options import ClassMap, Sources, Votes, parse_map
from trainer.commands.tables import table
from trainer.data.dataset import load
from trainer.evaluation.metrics import Metrics
from trainer.files import write_files

console = Console()


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="A SavedModel's directory, or a model server's HOST:PORT/MODEL, .../VERSION or ...@LABEL."),
    ],
    data: Sources,
    split: Annotated[
        Literal["Training", "PublicTest", "PrivateTest"], typer.Option(help="The split to measure on.")
    ] = "PublicTest",
    votes: Votes = None,
    class_map: ClassMap = None,
    flip: Annotated[bool, typer.Option(help="Average the scores of each face and its mirror image.")] = False,
    robustness: Annotated[
        bool,
        typer.Option(help="Measure blurred, dark, small and turned faces too: 21 conditions, 21 times the time."),
    ] = False,
    compare: Annotated[
        str | None, typer.Option(help="Another model, as MODEL: measured on the same images and tested against it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write evaluation.json and evaluation.png to this directory.")
    ] = None,
) -> None:
    """Measure MODEL on labelled faces: how good, how certain, how well calibrated, how fast.

    Intervals are 95 % bootstrap intervals. With --votes also the accuracy against the class that more than half of a
    face's FER+ annotators chose. Parameters and FLOPs are read off a SavedModel's graph, and are n/a for a server,
    whose latency includes the network. --compare adds McNemar's test of whether the two models are equally accurate.

        python -m trainer evaluate model_repository/residual/1 --data fer2013.csv.gz --out report

        python -m trainer evaluate localhost:8500/residual@stable --compare model_repository/residual/2
        --data fer2013.csv.gz --votes fer2013new.csv
    """
    if out is not None:
        # Before minutes of work rather than after.
        write_files(out, {})
    dataset = load(data, class_map=parse_map(class_map), votes=votes)
    (faces,) = dataset.require(split)

    # TensorFlow and Matplotlib take seconds to import.
    from trainer.evaluation.figures import class_rows, condition_rows, paired_rows, summary, title, write_report
    from trainer.evaluation.measure import measure

    models = [model] if compare is None else [model, compare]
    with console.status("") as status:
        report = measure(
            models,
            faces,
            split,
            flip=flip,
            robustness=robustness,
            data=dataset.facts,
            tell=lambda line: status.update(Text(line)),
        )
    columns = [summary(evaluation) for evaluation in report.evaluations]
    heading = f"{split}, {len(faces):,} images{', averaged with the mirror image' if flip else ''}"
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    console.print(table(heading, ["", *map(title, report.evaluations)], rows))
    for evaluation in report.evaluations:
        headings = ["class", "precision", "recall", "F1", "images"]
        console.print(table(title(evaluation), headings, class_rows(evaluation)))
        console.print(_confusion(evaluation.metrics))
    if robustness:
        headings = ["condition", *map(title, report.evaluations)]
        console.print(table("Accuracy by condition", headings, condition_rows(report)))
    if report.verdict:
        console.print(table("Comparison", ["", ""], paired_rows(report)))
        console.print(Text(report.verdict))
    if out is not None:
        for path in write_report(report, out):
            console.print(Text(f"wrote {path}"))


def _confusion(metrics: Metrics) -> Table:
    names = list(metrics.recall)
    rows = ([name, *(f"{count:,}" for count in row)] for name, row in zip(names, metrics.confusion, strict=True))
    return table("Labels (rows) and predictions (columns)", ["", *names], rows)
