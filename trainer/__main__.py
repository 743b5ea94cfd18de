"""Train emotion models from FER2013 and export them for TensorFlow Serving."""

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from trainer.errors import TrainerError, TrainingError

CONFIGS = Path(__file__).parent / "configs"

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A published model: a YAML file in trainer/configs/.")],
    data: Annotated[Path, typer.Option(help="Kaggle's fer2013.csv, plain or .gz.")],
    out: Annotated[Path | None, typer.Option(help="Run directory. [default: runs/NAME]")] = None,
    config: Annotated[Path | None, typer.Option(help="Another YAML file than the published one.")] = None,
    init: Annotated[Path | None, typer.Option(help="Start from this run's best weights.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a config key: --set epochs=5 --set augment.flip=0."),
    ] = None,
) -> None:
    """Train NAME on the Training split and keep the epoch that is best on PublicTest.

    The run directory gets config.yaml (what was really used), log.csv, best.weights.h5 and metrics.json, from which
    `export` makes a version in the model repository.
    """
    from trainer.config import load_config
    from trainer.data import read_fer2013, sha256
    from trainer.fit import fit, load_facts

    settings = load_config(config or CONFIGS / f"{name}.yaml", overrides or [])
    splits = read_fer2013(data)
    for needed in ("Training", "PublicTest"):
        if needed not in splits:
            raise TrainingError(f"{data} has no {needed} rows")
    training, validation = splits["Training"], splits["PublicTest"]
    console.print(f"{len(training):,} training images, {len(validation):,} to select the best epoch on")
    directory = out or Path("runs") / name
    facts = {
        "data": {"file": data.name, "sha256": sha256(data), "training_images": len(training)},
        "init": load_facts(init) if init else None,
        "libraries": _libraries(),
    }
    result = fit(settings, training, validation, directory, facts, console, init=init)
    table = Table(title=f"{name}, epoch {result.epoch}: accuracy {result.metrics.accuracy:.4f} on PublicTest")
    for heading in ("class", "precision", "recall"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for label, precision in result.metrics.precision.items():
        table.add_row(label, f"{precision:.3f}", f"{result.metrics.recall[label]:.3f}")
    console.print(table)
    console.print(f"next: python -m trainer export {directory}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run directory written by `train`.")],
    name: Annotated[str | None, typer.Option(help="Model name to serve it under. [default: the run's model]")] = None,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
) -> None:
    """Write a run's best weights as the next free version of NAME in the model repository."""
    from trainer.config import load_config
    from trainer.export import export as export_model
    from trainer.fit import load_facts, load_weights
    from trainer.models import build

    settings = load_config(run / "config.yaml", [])
    facts = load_facts(run)
    model = build(settings.model, settings.model_args)
    load_weights(model, run)
    version = export_model(model, name or settings.model, repository, facts)
    console.print(f"wrote {version}")


def _libraries() -> dict[str, str]:
    import keras

    names = ("keras", keras.backend.backend(), "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def main() -> None:
    """Run the command line; a TrainerError ends it with one line on standard error and exit status 1."""
    try:
        app()
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
