"""`python -m trainer ensemble`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from trainer.commands.options import ClassMap, Sources, parse_map

console = Console()


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run directories written by `train`, two or more.")],
    data: Sources,
    classes: ClassMap = None,
    method: Annotated[
        Literal["soft", "greedy", "simplex"], typer.Option(help="The method whose weights to keep.")
    ] = "simplex",
    flip: Annotated[bool, typer.Option(help="Average every member over the mirrored face, at twice the cost.")] = False,
    name: Annotated[str, typer.Option(help="Model name to serve it under.")] = "ensemble",
    out: Annotated[Path | None, typer.Option(help="Directory for ensemble.json. [default: runs/NAME]")] = None,
    repository: Annotated[Path | None, typer.Option(help="Export to this model repository at once.")] = None,
    half: Annotated[bool, typer.Option(help="Export kernels as float16: half the size.")] = False,
) -> None:
    """Combine trained runs into one model and say how much better it is.

    Four ways are compared: `soft` (mean of the scores), `hard` (majority of the top classes), `greedy` (Caruana's
    forward selection with replacement) and `simplex` (the weights of least log-loss). Weights and a temperature are
    fitted on PublicTest by 5-fold cross-validation, and every figure is of the fold left out. The hard vote is there to
    compare: it cannot be differentiated, so that a SavedModel could not explain itself, and is not exported.

    The weights kept are then fitted on all of PublicTest and written to ensemble.json. With --repository the ensemble
    becomes one SavedModel, weights and temperature baked in; `export runs/ensemble` does the same later.

        python -m trainer ensemble runs/a runs/b runs/c --data fer2013.csv.gz --flip
    """
    from trainer.data.dataset import load
    from trainer.ensemble.combination import Member
    from trainer.ensemble.fit import (
        METHODS,
        evaluate,
        load_ensemble,
        member_scores,
        require_same_public_test,
        save_ensemble,
    )
    from trainer.ensemble.report import outcome_table
    from trainer.errors import TrainingError
    from trainer.export.export import export, require_tensorflow
    from trainer.run_directory import load_facts, load_run

    if repository is not None:
        require_tensorflow()
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise TrainingError("an ensemble needs two or more runs, each named once")
    for run in runs:
        load_facts(run)
    dataset = load(data, classes=parse_map(classes))
    (split,) = dataset.require("PublicTest")
    require_same_public_test(runs, dataset.facts())
    with console.status(f"{len(runs)} members on {len(split):,} images"):
        scores = member_scores([Member(load_run(run), flip=flip) for run in runs], split)
        members = [evaluate(run.name, "soft", each[None], split.labels) for run, each in zip(runs, scores, strict=True)]
        outcomes = {each: evaluate(each, each, scores, split.labels) for each in METHODS}
    console.print(outcome_table(members, list(outcomes.values()), method))
    directory = out or Path("runs") / name
    save_ensemble(directory, runs, method, outcomes, flip=flip, data=dataset.facts())
    if repository is None:
        console.print(f"wrote {directory}; next: python -m trainer export {directory} --name {name}")
        return
    combination, facts = load_ensemble(directory)
    console.print(f"wrote {export(combination, name, repository, facts, half=half)}")
