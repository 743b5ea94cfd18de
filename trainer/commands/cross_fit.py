"""`python -m trainer cross-fit`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from trainer.commands.options import ClassMap, Overrides, Sources, Teachers, Votes, parse_map
from trainer.data.dataset import load
from trainer.errors import ConfigError
from trainer.training.config import load_config, published


def cross_fit(
    name: Annotated[str, typer.Argument(help="A published model: a YAML file in trainer/configs/.")],
    data: Sources,
    out: Annotated[Path, typer.Option(help="Where to write the opinions, an .npz file.")],
    votes: Votes = None,
    class_map: ClassMap = None,
    config: Annotated[Path | None, typer.Option(help="Another YAML file than the published one.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="How many networks.")] = 5,
    only: Annotated[
        list[int] | None, typer.Option("--fold", min=0, help="Train this fold alone, counted from 0; repeat it.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Directory of their runs. [default: runs/cross-fit/NAME]")] = None,
    teacher: Teachers = None,
    overrides: Overrides = None,
) -> None:
    """Train NAME once for each fold of Training and write what it makes of the faces that it was not trained on.

    `train --teacher` takes the file: such opinions remember no label, and know which to doubt. Kill it when you like; the
    same command goes on. Where there is room for several trainings at once, start one with each --fold, and at the end
    one without.

        python -m trainer cross-fit random-a --data fer2013.csv.gz --out cross.npz
    """
    if out.suffix != ".npz":
        raise ConfigError(f"--out {out}: the name must end in .npz")
    settings = load_config(config or published(name), list(overrides or []))
    if unknown := [fold for fold in only or [] if fold >= folds]:
        raise ConfigError(f"--fold {unknown[0]}: there are {folds} folds, counted from 0")

    # Keras takes seconds to import.
    from trainer.ensemble import cross_fitting
    from trainer.ensemble.opinions import write_opinions
    from trainer.ensemble.teacher import consult, parse_source

    teachers = [parse_source(text) for text in teacher or []]
    training, validation = load(data, class_map=parse_map(class_map), votes=votes).require("Training", "PublicTest")
    console = Console()
    found = cross_fitting.cross_fit(
        settings,
        training,
        validation,
        runs or Path("runs/cross-fit") / name,
        lambda images: consult(teachers, images, settings.distill.views) if teachers else None,
        console,
        count=folds,
        only=only,
    )
    if found is None:
        return
    write_opinions(out, found)
    right = found.probabilities(training.images, 2, 1.0).argmax(axis=1) == training.labels
    console.print(f"wrote {out}: {len(training):,} faces, {np.mean(right):.4f} of them right", soft_wrap=True)
