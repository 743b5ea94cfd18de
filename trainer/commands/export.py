"""`python -m trainer export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from trainer.commands.options import ClassMap, parse_map
from trainer.data.dataset import load
from trainer.errors import ExportError
from trainer.run_directory import ENSEMBLE

console = Console()


def export(
    run: Annotated[Path, typer.Argument(help="A run directory written by `train`, or one written by `ensemble`.")],
    name: Annotated[
        str | None, typer.Option(help="Model name to serve it under. [default: the run's model, or `ensemble`]")
    ] = None,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    flip: Annotated[
        bool, typer.Option(help="Average over the mirrored face, at twice the cost. Needs --data.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(help="Fit a temperature on PublicTest. Better probabilities, the same accuracy. Needs --data."),
    ] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="The data of the training, to measure again what --flip or --calibrate change."),
    ] = None,
    class_map: ClassMap = None,
    robustness: Annotated[
        bool,
        typer.Option(
            help="Measure blurred, dark, small and turned faces too, for the card, and the confidence under which an"
            " answer is unclear, for the gateway. Needs --data."
        ),
    ] = False,
    about: Annotated[str, typer.Option(help="A paragraph for the card, such as a teacher's origin and licence.")] = "",
    half: Annotated[bool, typer.Option(help="Store kernels as float16: half the size, scores within 0.01.")] = False,
) -> None:
    """Write a run's best weights, or an ensemble, as the next free version of NAME in the model repository.

    The version holds a SavedModel with the signatures `serving_default` and `explain`, warm-up requests, metrics.json
    and a model card. It is written aside and renamed: a server sees it whole or not at all.

        python -m trainer export runs/residual --flip --calibrate --data fer2013.csv.gz
    """
    # Keras takes seconds to import.
    from trainer.ensemble.saved import load_ensemble, load_single, with_robustness
    from trainer.export.version import require_tensorflow, write_version
    from trainer.networks.scores import FLIPPED, PLAIN

    require_tensorflow()
    changed = flip or calibrate
    if robustness and not data:
        raise ExportError("--robustness needs --data: the faces to disturb")
    is_ensemble = (run / ENSEMBLE).exists()
    if is_ensemble and changed:
        raise ExportError(f"{run}: an ensemble is calibrated already; --flip belongs to the `ensemble` command")
    if changed and not data:
        raise ExportError("--flip and --calibrate need --data: the figures beside the model must be of that model")
    dataset = load(data, class_map=parse_map(class_map)) if data and (changed or robustness) else None
    if is_ensemble:
        combination, facts = load_ensemble(run)
        default = "ensemble"
    else:
        combination, facts = load_single(run, views=FLIPPED if flip else PLAIN, calibrate=calibrate, dataset=dataset)
        default = facts["config"]["model"]
    if robustness and dataset:
        with console.status("") as status:
            combination, facts = with_robustness(
                combination, facts, run, dataset, tell=lambda line: status.update(Text(line))
            )
    console.print(f"wrote {write_version(combination, name or default, repository, facts, half=half, about=about)}")
