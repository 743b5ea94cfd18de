"""`python -m trainer data`: look at the data before training on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from faces.contract import CLASSES
from trainer.commands.options import ClassMap, Sources, Votes, parse_map
from trainer.data.contact_sheet import write_contact_sheet
from trainer.data.dataset import Dataset, read
from trainer.data.duplicates import Duplicates, find_duplicates
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
    """Count the images per split and class, find copies across splits, and compare the labels with FER+ votes.

    Reads everything that a training would read and stops at the first row or file that it cannot trust. For example:

        python -m trainer data inspect --data fer2013.csv.gz --votes fer2013new.csv --data my-faces --map joy=happy
        --sheet faces.png
    """
    console = Console()
    raw = read(data, classes=parse_map(class_map), votes=votes)
    kept = raw.without_leaks()
    console.print(_sources(raw))
    console.print(_counts(raw.splits))
    console.print(_duplicates(raw.splits, find_duplicates(raw.splits)))
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
    table = _table("Sources", "name", "images", "sha256")
    for source in (*dataset.sources, *([dataset.votes] if dataset.votes else [])):
        table.add_row(Text(source.name), f"{source.images:,}", source.sha256[:16])
    return table


def _counts(splits: Mapping[str, Split]) -> Table:
    table = _table("Images", "class", *splits, "total")
    counts = {name: split.class_counts() for name, split in splits.items()}
    for label in next(iter(counts.values()), {}):
        row = [counts[name][label] for name in splits]
        table.add_row(label, *(f"{count:,}" for count in (*row, sum(row))))
    sizes = [len(split) for split in splits.values()]
    table.add_section()
    table.add_row("all", *(f"{size:,}" for size in (*sizes, sum(sizes))))
    return table


def _duplicates(splits: Mapping[str, Split], found: Duplicates) -> Table:
    table = _table("Copies, pixel for pixel", "of", "repeated within", *(f"in {name}" for name in splits), "relabelled")
    for name in splits:
        across = (f"{found.across[name, other]:,}" if other != name else "" for other in splits)
        table.add_row(name, f"{found.within[name]:,}", *across, f"{found.relabelled[name]:,}")
    table.caption = "relabelled: images that have a copy with another label"
    return table


def _agreement(splits: Mapping[str, Split]) -> Table:
    table = _table("Labels that agree with FER+", "class", *splits)
    for label, name in enumerate(CLASSES):
        table.add_row(name, *(_share(split.take(split.labels == label)) for split in splits.values()))
    table.add_section()
    table.add_row("all", *(_share(split) for split in splits.values()))
    table.add_row("no majority", *(f"{(split.majority < 0).sum():,}" for split in splits.values()))
    table.caption = "of the images that have a majority, a class with\nmore than half of the votes"
    return table


def _share(split: Split) -> str:
    voted = split.majority >= 0
    return f"{(split.majority == split.labels)[voted].mean():.1%}" if voted.any() else "-"


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table
