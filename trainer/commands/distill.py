"""`python -m trainer distill`."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.commands.options import ClassMap, Sources, Votes
from trainer.commands.train import Config, Init, Name, Out, Overrides, Overwrite, Resume, Run, start

Teachers = Annotated[
    list[Path],
    typer.Option(
        "--teacher",
        help="A run directory, one written by `ensemble`, or a SavedModel's version directory (this needs TensorFlow)."
        " Repeat it to average several.",
    ),
]


def distill(
    name: Name,
    data: Sources,
    teacher: Teachers,
    votes: Votes = None,
    class_map: ClassMap = None,
    out: Out = None,
    config: Config = None,
    init: Init = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train NAME, a small model, on the labels and on what better models make of the same faces.

    As `train`, but the loss also asks the student to give each class the probability that the teacher gives it
    (Hinton, Vinyals & Dean 2015). The config's `distill` says how much: `temperature`, `weight` and `views`. Each
    image's teaching is computed once, before the first epoch, and holds for every augmented view of it.

        python -m trainer distill residual --data fer2013.csv.gz --set ferplus=0 --teacher runs/all --out runs/small
    """
    start(Run(name, data, votes, class_map, out, config, init, overrides, resume, overwrite), teacher)
