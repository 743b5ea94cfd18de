"""`emotion video`: a video with its faces marked, a table, and a picture of each face's emotions over time."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from emotion_client.cli.connection import DEFAULT, REPOSITORY, Key, Lang, Local, Repository, Url, patient
from emotion_client.cli.extra import extra
from emotion_client.cli.local import service
from emotion_client.errors import EmotionError

if TYPE_CHECKING:
    from emotion_client.video.reader import Video
    from emotion_client.video.run import Outcome, Wanted


def _seconds(text: str) -> float:
    """`0.2s`, `200ms` or `0.2`."""
    value = text.strip().lower()
    scale = 0.001 if value.endswith("ms") else 1.0
    try:
        seconds = float(value.removesuffix("ms").removesuffix("s")) * scale
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time such as 0.2s or 200ms", param_hint="--every") from None
    if not 0 <= seconds <= 3600:
        raise typer.BadParameter("from 0 s, which is each frame, to 3600 s", param_hint="--every")
    return seconds


def video(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="MP4, MOV, MKV, WebM, AVI and what else FFmpeg reads.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The video with its faces marked and its sound, as .mp4.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="A row a face: time, frame, track, box, emotion.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Each face's emotions over time, as .png or .svg.")] = None,
    every: Annotated[
        str, typer.Option(metavar="TIME", help="Look at a frame each 0.2s, say; 0s: at every frame.")
    ] = "0s",
    lang: Lang = "en",
    url: Url = DEFAULT,
    key: Key = None,
    local: Local = False,
    repository: Repository = REPOSITORY,
) -> None:
    """Read the emotions of every face in a video.

    Without -o, --csv and --plot the table is printed. Exit code 1: the file could be read in part only, or the service
    failed; what was written until then can be used.
    """
    with extra("video"):
        from emotion_client.video.errors import VideoError
        from emotion_client.video.reader import Video
        from emotion_client.video.run import Wanted

    console = Console(stderr=True, highlight=False)
    every_s = _seconds(every)
    try:
        with ExitStack() as stack:
            source = stack.enter_context(Video(file))
            table: IO[str] | None = None
            if csv is not None:
                table = stack.enter_context(csv.open("w", encoding="utf-8", newline=""))
            elif output is None and plot is None:
                table = sys.stdout
            wanted = Wanted(output, table, plot, every_s, lang)
            at = stack.enter_context(service(url, local, repository))
            outcome = asyncio.run(_run(source, wanted, at, key, console))
    except (VideoError, EmotionError, OSError, ValueError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(
        f"{outcome.frames} frames, {outcome.looked_at} looked at, {outcome.faces} faces, {outcome.tracks} tracks"
    )
    if outcome.sound_left_out:
        console.print(f"the sound ({outcome.sound_left_out}) does not go into this container: take .mkv", markup=False)
    if outcome.damage:
        console.print(f"{file}: {outcome.damage}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1)


async def _run(source: "Video", wanted: "Wanted", url: str, key: str | None, console: Console) -> "Outcome":
    from emotion_client.video.run import run

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    async with patient(url, key) as client:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(source.path.name, total=source.duration_s)
            outcome = await run(source, client.predict, wanted, lambda done: progress.update(task, completed=done))
            if outcome.damage is None:
                # The last frame begins before the video ends.
                progress.update(task, completed=source.duration_s)
            return outcome
