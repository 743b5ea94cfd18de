"""`python -m trainer export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from trainer.commands.options import ClassMap, parse_map
from trainer.data.dataset import load
from trainer.errors import ExportError
from trainer.run_directory import ENSEMBLE

if TYPE_CHECKING:
    from trainer.ensemble.combination import Combination

console = Console()


def export(
    run: Annotated[
        Path,
        typer.Argument(
            help="A run directory written by `train`, or one written by `ensemble`; with --format also a version's"
            " directory, such as model_repository/random/3."
        ),
    ],
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
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="onnx|litert",
            help="Write one file for a browser or a phone to --out, instead of a version. It gives scores alone.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file of --format.")] = None,
) -> None:
    """Write a run's best weights, or an ensemble, as the next free version of NAME in the model repository.

    The version holds a SavedModel with the signatures `serving_default` and `explain`, warm-up requests, metrics.json
    and a model card. It is written aside and renamed: a server sees it whole or not at all.

        python -m trainer export runs/residual --flip --calibrate --data fer2013.csv.gz
        python -m trainer export model_repository/random/3 --format onnx --out random-3.onnx
    """
    # Keras takes seconds to import.
    from trainer.ensemble.saved import load_ensemble, load_single, with_robustness
    from trainer.export.version import require_tensorflow, write_version
    from trainer.networks.scores import FLIPPED, PLAIN

    require_tensorflow()
    if (form is None) != (out is None):
        raise ExportError("--format and --out belong together: the kind of file, and where it goes")
    if out is not None and (run / "saved_model.pb").exists():
        if flip or calibrate or robustness or name:
            raise ExportError(f"{run}: a version is converted as it is; --name and what measures are for runs")
        _write_file(run, out, form, half)
        return
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
    if out is not None:
        _write_file(combination, out, form, half)
        return
    console.print(f"wrote {write_version(combination, name or default, repository, facts, half=half, about=about)}")


def _write_file(source: "Combination | Path", out: Path, form: str | None, half: bool) -> None:
    from trainer.export.portable import Format, write_portable

    if form not in list(Format):
        raise ExportError(f"--format {form}: there are {' and '.join(Format)}")
    difference = write_portable(source, out, Format(form), half=half)
    console.print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB; scores within {difference:.1g})", soft_wrap=True)
