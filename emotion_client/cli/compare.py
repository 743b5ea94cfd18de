"""`emotion compare`: two models or versions on the same photos."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from emotion_client.answers import Prediction
from emotion_client.cli.connection import DEFAULT, REPOSITORY, Crop, Key, Lang, Local, Repository, Url, patient
from emotion_client.cli.extra import extra
from emotion_client.cli.local import service
from emotion_client.compare.choice import Choice
from emotion_client.compare.figures import Figures, mcnemar
from emotion_client.compare.run import Comparison, photos, run
from emotion_client.emotions import Language, name
from emotion_client.errors import EmotionError, Problem


class _Refused(Exception):  # noqa: N818 - says what a photo is
    """The service cannot read this photo."""


def compare(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Photos, also in folders below.")],
    a: Annotated[str, typer.Option("--a", metavar="MODEL", help="NAME, NAME:VERSION or NAME@LABEL.")],
    b: Annotated[str, typer.Option("--b", metavar="MODEL", help="As --a.")],
    sheet: Annotated[Path | None, typer.Option(help="The faces that they see differently, as a picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    crop: Crop = "detect",
    lang: Lang = "en",
    url: Url = DEFAULT,
    key: Key = None,
    local: Local = False,
    repository: Repository = REPOSITORY,
) -> None:
    """Compare two models or versions on a folder of photos.

    Where the folders that hold the photos are named as emotions are (happy, sad, ...), it also says how often each is
    right, and by McNemar's exact test how surely one is better. Exit code 1: some photos could not be read.
    """
    with extra("video"):
        from emotion_client.compare.sheet import can_write, draw

    console = Console(stderr=True, highlight=False)
    try:
        choices = Choice.parse(a), Choice.parse(b)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder}: there is no such folder")
    if sheet is not None and not can_write(sheet):
        raise typer.BadParameter(f"{sheet}: the folder must be there, and the name end in .png or .jpg")
    total = len(photos(folder))
    if not total:
        raise typer.BadParameter(f"{folder}: has no photos")
    try:
        with service(url, local, repository) as at:
            comparison = asyncio.run(_run(folder, choices, total, at, key, crop, console))
        if sheet is not None:
            draw(comparison.differences, sheet, (a, b), lang)
    except (EmotionError, OSError, ValueError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if as_json:
        problems = {str(path): text for path, text in sorted(comparison.problems.items())}
        print(json.dumps({"a": a, "b": b, **comparison.figures.as_json(), "problems": problems}, indent=2))
    else:
        _print(comparison.figures, a, b, lang)
    for path, text in sorted(comparison.problems.items()):
        console.print(f"{path}: {text}", style="red", markup=False, soft_wrap=True)
    if comparison.problems:
        raise typer.Exit(1)


async def _run(
    folder: Path,
    choices: tuple[Choice, Choice],
    total: int,
    url: str,
    key: str | None,
    crop: Literal["detect", "none"],
    console: Console,
) -> Comparison:
    async with patient(url, key) as client:

        async def ask(choice: Choice, content: bytes) -> Prediction:
            try:
                return await client.predict(
                    content, model=choice.model, version=choice.version, label=choice.label, crop=crop
                )
            except Problem as problem:
                if problem.status in (400, 413, 415):
                    raise _Refused(str(problem)) from problem
                raise

        with Progress(console=console) as progress:
            task = progress.add_task("photos", total=total)
            first, second = (partial(ask, choice) for choice in choices)
            return await run(folder, first, second, refused=_Refused, advance=lambda: progress.advance(task))


def _print(figures: Figures, a: str, b: str, language: Language) -> None:
    console = Console(highlight=False)
    table = Table("", "", show_header=False)
    table.add_row("photos", str(figures.photos))
    table.add_row("photos without a face", str(figures.empty))
    table.add_row("faces", str(figures.faces))
    if figures.faces:
        table.add_row("same emotion", f"{figures.agreed} ({figures.agreed / figures.faces:.1%})")
    if figures.labelled:
        table.add_row("photos with a known emotion and a face", str(figures.labelled))
        table.add_row(f"right: A, {a}", f"{figures.right_a} ({figures.right_a / figures.labelled:.1%})")
        table.add_row(f"right: B, {b}", f"{figures.right_b} ({figures.right_b / figures.labelled:.1%})")
        table.add_row("right: A alone, B alone", f"{figures.only_a}, {figures.only_b}")
        table.add_row("McNemar's exact test, p", f"{mcnemar(figures.only_a, figures.only_b):.3g}")
    console.print(table)
    if figures.differences:
        differences = Table("A says", "B says", "faces")
        for (one, other), count in figures.differences.most_common(12):
            differences.add_row(name(one, language), name(other, language), str(count))
        console.print(differences)
