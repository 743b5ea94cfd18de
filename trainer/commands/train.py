"""`python -m trainer train`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from trainer.commands.options import ClassMap, Sources, Votes, parse_map

if TYPE_CHECKING:
    from trainer.training.config import TrainConfig

Name = Annotated[str, typer.Argument(help="A published model: a YAML file in trainer/configs/.")]
Out = Annotated[Path | None, typer.Option(help="Run directory. [default: runs/NAME]")]
Config = Annotated[Path | None, typer.Option(help="Another YAML file than the published one.")]
Init = Annotated[Path | None, typer.Option(help="Start from this run's best weights.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key: --set epochs=5 --set augment.flip=0."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from the run directory's last checkpoint, with the same config and data."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the run directory.")]


@dataclass(frozen=True)
class Run:
    """What to train, on what, and where, as `train` and `distill` take it from the command line."""

    name: str
    data: Sequence[Path]
    votes: Path | None
    class_map: Sequence[str] | None
    out: Path | None
    config: Path | None
    init: Path | None
    overrides: Sequence[str] | None
    resume: bool
    overwrite: bool


def train(
    name: Name,
    data: Sources,
    votes: Votes = None,
    class_map: ClassMap = None,
    out: Out = None,
    config: Config = None,
    init: Init = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train NAME on the Training split and keep the epoch that is best on PublicTest.

    The run directory gets config.yaml (what was really used), log.csv, tensorboard/, best.weights.h5 and metrics.json,
    from which `export` makes a version in the model repository; and after each epoch checkpoint.npz, from which
    --resume goes on when a training was interrupted.

        python -m trainer train residual --data fer2013.csv.gz --set ferplus=0 --set epochs=60

    KERAS_BACKEND=torch in the environment trains with PyTorch, faster on most processors.
    """
    start(Run(name, data, votes, class_map, out, config, init, overrides, resume, overwrite))


def start(run: Run, teachers: Sequence[Path] = ()) -> None:
    """Read the data, train (from the teachers, if there are any) and print the result."""
    from trainer.errors import ConfigError
    from trainer.networks.networks import build
    from trainer.training.checkpoint import claim
    from trainer.training.config import load_config, published

    # Whatever can be refused is refused before the minutes that data and teacher take.
    settings = load_config(run.config or published(run.name), list(run.overrides or []))
    if settings.ferplus and run.votes is None:
        raise ConfigError(
            f"ferplus: {settings.ferplus:g} of the targets are FER+ votes; give --votes fer2013new.csv, or do without"
            " them: --set ferplus=0"
        )
    build(settings.model, settings.model_args)
    directory = run.out or Path("runs") / run.name
    claim(directory, resume=run.resume, overwrite=run.overwrite)
    classes = parse_map(run.class_map)
    console = Console()
    _train(run, settings, directory, classes, teachers, console)


def _train(
    run: Run,
    settings: "TrainConfig",
    directory: Path,
    classes: dict[str, str],
    teachers: Sequence[Path],
    console: Console,
) -> None:
    from trainer.data.dataset import load
    from trainer.provenance import provenance

    dataset = load(run.data, classes=classes, votes=run.votes)
    training, validation = dataset.require("Training", "PublicTest")
    console.print(f"{len(training):,} training images, {len(validation):,} to select the best epoch on")
    if dataset.leaked:
        console.print(f"{dataset.leaked:,} training images left out: they stand in a split that is held out")

    from trainer.ensemble.teacher import consult
    from trainer.run_directory import load_facts
    from trainer.training.fit import fit

    facts = {"data": dataset.facts(), "init": load_facts(run.init) if run.init else None, **provenance()}
    teacher = None
    if teachers:
        with console.status(f"asking {len(teachers)} teacher model(s) about {len(training):,} images"):
            teacher = consult(teachers, training.images, settings.distill.views)
    result = fit(
        settings,
        training,
        validation,
        directory,
        facts,
        console,
        init=run.init,
        resume=run.resume,
        teacher=teacher,
    )
    table = Table(title=f"{run.name}, epoch {result.epoch}: accuracy {result.metrics.accuracy:.4f} on PublicTest")
    for heading in ("class", "precision", "recall"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for label, precision in result.metrics.precision.items():
        table.add_row(label, f"{precision:.3f}", f"{result.metrics.recall[label]:.3f}")
    console.print(table)
    console.print(f"next: python -m trainer export {directory}", soft_wrap=True)
