"""`python -m trainer data`: look at the data before training on it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faces.align import Aligner
from faces.contract import CLASSES
from faces.detect import SIDE_MAX, STANDARD_SIDE
from faces.detect.choice import open_detectors
from faces.errors import ModelFileError
from faces.finder import FaceFinder
from trainer.commands.options import ClassMap, Sources, Votes, parse_map
from trainer.commands.tables import table
from trainer.data.contact_sheet import write_contact_sheet
from trainer.data.dataset import Dataset, read_all
from trainer.data.folder import UNLABELLED
from trainer.data.photos import Choice, Cropped, check_target, crop_photos, find_photos, write_crops
from trainer.data.split import Split
from trainer.errors import ConfigError

# The gateway's default of pixels, which decides how a large photo is read. Its limit of bytes changes no picture.
_MAX_PIXELS = 25_000_000
_MAX_BYTES = 2**30

app = typer.Typer(
    help="Look at the data before training on it, and make some of your own photos.", no_args_is_help=True
)


@app.command()
def inspect(
    data: Sources,
    votes: Votes = None,
    class_map: ClassMap = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a PNG with a row of random faces of each class.")
    ] = None,
) -> None:
    """Count the images per split and class, and copies of held-out ones, and compare the labels with FER+ votes.

    Reads everything that a training would read and stops at the first row or file that it cannot trust. For example:

        python -m trainer data inspect --data fer2013.csv.gz --votes fer2013new.csv --data my-faces --map joy=happy
        --sheet faces.png
    """
    console = Console()
    raw = read_all(data, class_map=parse_map(class_map), votes=votes)
    kept = raw.without_leaks()
    console.print(_sources(raw))
    console.print(_counts(raw.splits))
    console.print(
        f"{kept.leaked:,} Training images also stand in a split that is held out. A training leaves them out and keeps"
        f" {kept.facts['training_images']:,}; sha256 of what it reads: {kept.facts['sha256'][:16]}"
    )
    if votes is not None:
        console.print(_agreement(raw.splits))
    if sheet is not None:
        write_contact_sheet(sheet, list(raw.splits.values()))
        console.print(Text(f"wrote {sheet}"))


@app.command()
def crop(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders with photos at any depth.")],
    out: Annotated[Path, typer.Option(help="The folder to make; afterwards `--data` reads it.")],
    class_map: ClassMap = None,
    detector: Annotated[
        Literal["auto", "yunet", "mtcnn", "haar"], typer.Option(help="`auto`: YuNet where its file is, else MTCNN.")
    ] = "auto",
    yunet: Annotated[Path | None, typer.Option(help="YuNet's file.", envvar="EMOTION_YUNET_MODEL")] = None,
    yunet_sha256: Annotated[
        str | None,
        typer.Option(help="Digest of another file than the published one.", envvar="EMOTION_YUNET_SHA256"),
    ] = None,
    min_face: Annotated[
        int | None, typer.Option(min=1, help="Width of the smallest face, pixels of the photo. Looks closer, too.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out faces that the detector is less sure of.")
    ] = None,
    largest: Annotated[bool, typer.Option("--largest", help="Keep one face a photo, the largest.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run made.")] = False,
) -> None:
    """Make a training folder from your own photos, by the very steps of the gateway.

    A photo's class is the name of its folder; where that is none, its faces go to `unlabelled`, to be moved by hand.
    What was left out is listed with the reason in left-out.csv; look at contact-sheet.png. For example:

        python -m trainer data crop photos/happy photos/sad --out my-faces
    """
    console = Console()
    found = find_photos(photos)
    check_target(out, found, overwrite=overwrite)
    try:
        detectors = open_detectors(detector, yunet=yunet, sha256=yunet_sha256, side=STANDARD_SIDE, side_max=SIDE_MAX)
        finder = FaceFinder(detectors.by_name, Aligner(), max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS, side=SIDE_MAX)
    except ModelFileError as error:
        raise ConfigError(error.detail) from error
    name = detectors.default
    if min_score is not None and name == "haar":
        raise ConfigError("--min-score: Haar's faces have no score")
    console.print(Text(f"faces are found by {name}: {detectors.reason}"))
    cropped = crop_photos(found, finder, Choice(name, min_face, min_score, largest), parse_map(class_map))
    write_crops(out, cropped)
    console.print(_cropped(cropped))
    console.print(Text(f"wrote {out}: {len(cropped.crops):,} faces of {len(found):,} photos"))


def _cropped(cropped: Cropped) -> Table:
    counts = Counter(crop.folder for crop in cropped.crops)
    reasons = Counter(left_out.why for left_out in cropped.left_out)
    rows = [[name, f"{counts[name]:,}"] for name in (*CLASSES, UNLABELLED) if counts[name]]
    left_out = [[f"left out: {why}", f"{count:,}"] for why, count in reasons.most_common()]
    return table("Faces", ["", "faces"], rows, left_out)


def _sources(dataset: Dataset) -> Table:
    sources = (*dataset.sources, *([dataset.votes] if dataset.votes else []))
    rows = ([source.name, f"{source.images:,}", source.sha256[:16]] for source in sources)
    return table("Sources", ["name", "images", "sha256"], rows)


def _counts(splits: Mapping[str, Split]) -> Table:
    counts = np.array([list(split.class_counts().values()) for split in splits.values()]).T
    rows = [[name, *(f"{count:,}" for count in (*row, row.sum()))] for name, row in zip(CLASSES, counts, strict=True)]
    total = ["all", *(f"{count:,}" for count in (*counts.sum(axis=0), counts.sum()))]
    return table("Images", ["class", *splits, "total"], rows, [total])


def _agreement(splits: Mapping[str, Split]) -> Table:
    rows = (
        [name, *(_share(split.take(split.labels == label)) for split in splits.values())]
        for label, name in enumerate(CLASSES)
    )
    overall = ["all", *(_share(split) for split in splits.values())]
    none = ["no majority", *(f"{(split.majority < 0).sum():,}" for split in splits.values())]
    agreement = table("Labels that agree with FER+", ["class", *splits], rows, [overall, none])
    agreement.caption = "of the images that have a majority, a class with more than half of the votes"
    return agreement


def _share(split: Split) -> str:
    voted = split.majority >= 0
    return f"{(split.majority == split.labels)[voted].mean():.1%}" if voted.any() else "-"
