"""`python -m trainer ensemble`."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from trainer.commands.options import ClassMap, Sources, parse_map
from trainer.commands.tables import table
from trainer.data.dataset import load
from trainer.errors import TrainingError
from trainer.run_directory import load_facts

if TYPE_CHECKING:
    from trainer.ensemble.cross_validation import Candidate

console = Console()


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run directories written by `train`, two or more.")],
    data: Sources,
    class_map: ClassMap = None,
    method: Annotated[
        Literal["soft", "greedy", "simplex"], typer.Option(help="The method whose weights to keep.")
    ] = "simplex",
    flip: Annotated[bool, typer.Option(help="Average every member over the mirrored face, at twice the cost.")] = False,
    plain: Annotated[
        list[Path] | None, typer.Option(help="With --flip: a run that sees the face as it is alone. Repeatable.")
    ] = None,
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
    # Keras takes seconds to import.
    from trainer.ensemble.combination import Member
    from trainer.ensemble.cross_validation import METHODS, cross_validate, member_scores
    from trainer.ensemble.saved import load_ensemble, require_same_public_test, save_ensemble
    from trainer.export.version import require_tensorflow, write_version
    from trainer.networks.scores import FLIPPED, PLAIN
    from trainer.training.checkpoint import load_run

    if repository is not None:
        require_tensorflow()
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise TrainingError("an ensemble needs two or more runs, each named once")
    for run in runs:
        load_facts(run)
    dataset = load(data, class_map=parse_map(class_map))
    (split,) = dataset.require("PublicTest")
    require_same_public_test(runs, dataset.facts)
    unmirrored = {run.resolve() for run in plain or []}
    if unknown := unmirrored - {run.resolve() for run in runs}:
        raise TrainingError(f"--plain: {unknown.pop()} is none of the runs")
    views = [FLIPPED if flip and run.resolve() not in unmirrored else PLAIN for run in runs]
    with console.status(f"{len(runs)} members on {len(split):,} images"):
        scores = member_scores(
            [Member(load_run(run), views=each) for run, each in zip(runs, views, strict=True)], split
        )
        members = [
            cross_validate(run.name, "soft", each[None], split.labels) for run, each in zip(runs, scores, strict=True)
        ]
        methods = {each: cross_validate(each, each, scores, split.labels) for each in METHODS}
    console.print(_comparison(members, methods.values(), method))
    directory = out or Path("runs") / name
    save_ensemble(directory, runs, method, methods, views=views, data=dataset.facts)
    if repository is None:
        console.print(f"wrote {directory}; next: python -m trainer export {directory} --name {name}")
        return
    combination, facts = load_ensemble(directory)
    console.print(f"wrote {write_version(combination, name, repository, facts, half=half)}")


def _comparison(members: Sequence["Candidate"], methods: Collection["Candidate"], kept: str) -> Table:
    """A row for each member on its own, then one for each method, with the weights that it gives the members."""
    from trainer.ensemble.cross_validation import FOLDS  # here for the same reason

    def row(candidate: "Candidate", weights: str) -> list[str]:
        metrics = candidate.metrics
        figures = (f"{figure:.4f}" for figure in (metrics.accuracy, metrics.log_loss, candidate.ece))
        return [candidate.name, *figures, f"{candidate.rule.temperature:.2f}", weights]

    def weights_of(candidate: "Candidate") -> str:
        if candidate.rule.weights is None:
            return "one vote each; cannot be exported: it has no gradient to explain"
        shares = zip(members, candidate.rule.weights, strict=True)
        return ", ".join(f"{member.name} {share:.2f}" for member, share in shares if share > 0)

    made = table(
        f"{members[0].metrics.count:,} PublicTest images, {FOLDS}-fold cross-validated, temperature fitted",
        ["", "accuracy", "log-loss", "ECE", "temperature", "weights"],
        [row(member, "") for member in members],
        [row(method, weights_of(method)) for method in methods],
        left=(0, 5),
    )
    made.caption = f"kept: {kept}; weights and temperature: fitted on all images"
    return made
