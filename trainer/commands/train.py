"""`python -m trainer train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainer.commands.options import ClassMap, Overrides, Sources, Votes, parse_map
from trainer.commands.tables import table
from trainer.data.dataset import load
from trainer.errors import ConfigError
from trainer.provenance import provenance
from trainer.run_directory import load_facts, require_unclaimed
from trainer.training.config import load_config, published


def train(
    name: Annotated[str, typer.Argument(help="A published model: a YAML file in trainer/configs/.")],
    data: Sources,
    votes: Votes = None,
    class_map: ClassMap = None,
    out: Annotated[Path | None, typer.Option(help="Run directory. [default: runs/NAME]")] = None,
    config: Annotated[Path | None, typer.Option(help="Another YAML file than the published one.")] = None,
    init: Annotated[Path | None, typer.Option(help="Start from this run's best weights.")] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="PATH[:TEMPERATURE]",
            help="Learn what this makes of the faces too: a run directory, one written by `ensemble`, a SavedModel's"
            " version directory (needs TensorFlow), or a file written by `opinions`. Repeat it to average several.",
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the run directory's last checkpoint, with the same config and data."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the run directory.")] = False,
) -> None:
    """Train NAME on the Training split and keep the epoch that is best on PublicTest.

    The run directory gets config.yaml (what was really used), log.csv, tensorboard/, best.weights.h5 and metrics.json,
    from which `export` makes a version in the model repository; and after each epoch checkpoint.npz, from which
    --resume goes on when a training was interrupted.

        python -m trainer train residual --data fer2013.csv.gz --set ferplus=0 --set epochs=60

    With --teacher the loss also asks the network to give each class the probability that the teachers give it (Hinton,
    Vinyals & Dean 2015). The config's `distill` says how much: `temperature`, `weight` and `views`. Each image's
    teaching is computed once, before the first epoch, and holds for every augmented view of it; with
    `distill.each_view` runs are asked about each view.

        python -m trainer train residual --data fer2013.csv.gz --set ferplus=0 --teacher runs/all --teacher dense.npz:2

    KERAS_BACKEND=torch in the environment trains with PyTorch, faster on most processors.
    """
    # Whatever can be refused is refused before the minutes that data and teacher take.
    settings = load_config(config or published(name), list(overrides or []))
    if settings.ferplus and votes is None:
        raise ConfigError(
            f"ferplus: {settings.ferplus:g} of the targets are FER+ votes; give --votes fer2013new.csv, or do without"
            " them: --set ferplus=0"
        )
    directory = out or Path("runs") / name
    require_unclaimed(directory, resume=resume, overwrite=overwrite)

    # Keras takes seconds to import.
    from trainer.ensemble.teacher import consult, parse_source
    from trainer.networks.networks import build
    from trainer.training.fit import fit

    build(settings.model, settings.model_args)
    teachers = [parse_source(text) for text in teacher or []]
    mapping = parse_map(class_map)
    console = Console()
    dataset = load(data, class_map=mapping, votes=votes)
    training, validation = dataset.require("Training", "PublicTest")
    console.print(f"{len(training):,} training images, {len(validation):,} to select the best epoch on")
    if dataset.leaked:
        console.print(f"{dataset.leaked:,} training images left out: they stand in a split that is held out")
    facts = {"data": dataset.facts, "init": load_facts(init) if init else None, **provenance()}
    taught = None
    if teachers:
        with console.status(f"asking {len(teachers)} teacher(s) about {len(training):,} images"):
            taught = consult(teachers, training.images, settings.distill.views, each_view=settings.distill.each_view)
    result = fit(settings, training, validation, directory, facts, console, init=init, resume=resume, teacher=taught)
    metrics = result.metrics
    rows = [[label, f"{share:.3f}", f"{metrics.recall[label]:.3f}"] for label, share in metrics.precision.items()]
    title = f"{name}, epoch {result.epoch}: accuracy {metrics.accuracy:.4f} on PublicTest"
    console.print(table(title, ["class", "precision", "recall"], rows))
    console.print(f"next: python -m trainer export {directory}", soft_wrap=True)
