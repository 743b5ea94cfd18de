"""`python -m trainer data`: look at the data before training on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faces.contract import CLASSES
from trainer.commands.options import ClassMap, Sources, Votes, parse_map
from trainer.commands.tables import table
from trainer.data.contact_sheet import write_contact_sheet
from trainer.data.dataset import Dataset, read_all
from trainer.data.split import Split

app = typer.Typer(help="Look at the data before training on it.", no_args_is_help=True)


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
