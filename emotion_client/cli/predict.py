"""`emotion predict`: photos, folders and patterns, as a table, JSON lines or CSV."""

import asyncio
import csv
import glob
import io
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import IO, Annotated, Protocol

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from emotion_client.answers import Prediction
from emotion_client.cli.connection import DEFAULT, REPOSITORY, Crop, Key, Lang, Local, Repository, Url, patient
from emotion_client.cli.local import service
from emotion_client.cli.rows import COLUMNS, problem_row, rows_of
from emotion_client.client import AsyncClient
from emotion_client.emotions import Language, name
from emotion_client.errors import BadImage, EmotionError
from emotion_client.requests import content_of

STDIN = "-"
_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".heic", ".heif"))
# File names need not be UTF-8: what is none goes into the CSV as it is.
_NAMES = "surrogateescape"
# Answers that may wait for an earlier photo's, for each photo on its way.
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class _Result:
    file: str
    prediction: Prediction | None
    # In words, where there is none.
    problem: str | None
    picture: bytes | None = None


class _Sink(Protocol):
    def add(self, result: _Result) -> None: ...
    def end(self) -> None: ...


def predict(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|FOLDER|GLOB|-", help="What to look at; - reads a photo.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a photo.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="A row a face.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the CSV, without what is in it.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each photo there with its faces marked, as PNG.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another one than the default.")] = None,
    version: Annotated[int | None, typer.Option(help="A version of it.")] = None,
    label: Annotated[str | None, typer.Option(help="A label on one of its versions.")] = None,
    min_face: Annotated[int | None, typer.Option(help="Smallest face to look for, pixels.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Photos on their way at a time.")] = 8,
    crop: Crop = "detect",
    lang: Lang = "en",
    url: Url = DEFAULT,
    key: Key = None,
    local: Local = False,
    repository: Repository = REPOSITORY,
) -> None:
    """Read the emotions of every face in photos.

    A photo that cannot be read is a row with its problem, and the exit code is 1 at the end.
    """
    if resume and csv_file is None:
        raise typer.BadParameter("goes with --csv", param_hint="--resume")
    options = {"model": model, "version": version, "label": label, "min_face": min_face, "crop": crop}
    done = _resume(csv_file) if resume and csv_file is not None else set()
    files = [file for file in find(images) if file not in done]
    if annotate is not None:
        annotate.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        sink: _Sink
        if csv_file is not None:
            sink = _Csv(
                stack.enter_context(csv_file.open("a" if done else "w", encoding="utf-8", errors=_NAMES, newline="")),
                bool(done),
            )
        else:
            sink = _Json() if as_json else _Table(lang)
        # Nothing is started where nothing is left to do.
        at = stack.enter_context(service(url, local and bool(files), repository))
        problems = asyncio.run(_run(files, sink, at, key, options, concurrency, annotate, lang))
        sink.end()
    if problems:
        Console(stderr=True).print(f"{problems} of {len(files)} could not be read", style="red", highlight=False)
        raise typer.Exit(1)


def find(given: list[str]) -> Iterator[str]:
    """Files: those named, those that a pattern means, and the photos in folders and below.

    Raises:
        typer.BadParameter: something named is not there, or a folder or pattern has no photo.
    """
    for text in given:
        path = Path(text)
        if text == STDIN:
            yield text
        elif path.is_dir():
            found = [
                str(file) for file in sorted(path.rglob("*")) if file.suffix.lower() in _ENDINGS and file.is_file()
            ]
            if not found:
                raise typer.BadParameter(f"{text}: has no photos")
            yield from found
        elif path.exists():
            yield text
        else:
            matches = glob.glob(text, recursive=True)  # noqa: PTH207 - a pattern may begin anywhere
            found = sorted(file for file in matches if Path(file).is_file())
            if not found:
                raise typer.BadParameter(f"{text}: there is no such file")
            yield from found


async def _run(
    files: list[str],
    sink: _Sink,
    url: str,
    key: str | None,
    options: dict[str, str | int | None],
    concurrency: int,
    annotate: Path | None,
    lang: Language,
) -> int:
    """How many could not be read."""
    if not files:
        return 0
    columns = (TextColumn("photos"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    problems = 0
    taken: set[str] = set()
    console = Console(stderr=True)
    async with patient(url, key) as client:
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            task = progress.add_task("photos", total=len(files))
            async for result in _in_order(client, files, options, concurrency, annotate is not None, lang):
                problems += result.problem is not None
                sink.add(result)
                if annotate is not None and result.picture is not None:
                    own = result.file.replace("/", "_").lstrip("._") if result.file != STDIN else "stdin"
                    # Those of two folders may have one name.
                    others = (f"{own}-{number}" for number in count(2))
                    free = next(one for one in chain((own,), others) if one not in taken)
                    taken.add(free)
                    (annotate / f"{free}.png").write_bytes(result.picture)
                progress.advance(task)
    return problems


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


async def _in_order(
    client: AsyncClient,
    files: list[str],
    options: dict[str, str | int | None],
    concurrency: int,
    pictures: bool,
    lang: Language,
) -> AsyncIterator[_Result]:
    """The results, in the order of the files, with so many photos on their way and in memory."""
    waiting: deque[asyncio.Task[_Result]] = deque()
    rest = iter(files)
    places = asyncio.Semaphore(concurrency)

    async def one(file: str) -> _Result:
        async with places:
            return await _one(client, file, options, pictures, lang)

    try:
        while True:
            # More than may be on their way, so that one that takes long does not hold up those behind it.
            while len(waiting) < _AHEAD * concurrency and (file := next(rest, None)) is not None:
                waiting.append(asyncio.create_task(one(file)))
            if not waiting:
                return
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _one(
    client: AsyncClient, file: str, options: dict[str, str | int | None], pictures: bool, lang: Language
) -> _Result:
    try:
        # A thread would cost more than a file does, and what a slow disk holds up is this command alone.
        content = await asyncio.to_thread(sys.stdin.buffer.read) if file == STDIN else content_of(Path(file))
    except OSError as error:
        return _Result(file, None, error.strerror or str(error))
    try:
        prediction = await client.predict(content, **options)  # type: ignore[arg-type]
        picture = await client.annotated(content, lang=lang) if pictures else None
    except BadImage as problem:
        return _Result(file, None, str(problem))
    return _Result(file, prediction, None, picture)


@dataclass(frozen=True, slots=True)
class _Words:
    headings: tuple[str, ...]
    no_face: str
    at: str
    unclear: str


_WORDS: dict[Language, _Words] = {
    "en": _Words(("file", "face", "box", "emotion", "confidence"), "none", "at", "unclear"),
    "vi": _Words(("tệp", "khuôn mặt", "khung", "cảm xúc", "độ tin cậy"), "không có", "tại", "chưa rõ"),
}


class _Csv:
    def __init__(self, file: IO[str], goes_on: bool) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")
        if not goes_on:
            self._rows.writerow(COLUMNS)

    def add(self, result: _Result) -> None:
        # All rows of a photo at once: what is cut off is half a photo's at most, and is dropped by --resume.
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if result.prediction is None:
            rows.writerow(problem_row(result.file, result.problem or ""))
        else:
            rows.writerows(rows_of(result.file, result.prediction))
        self._file.write(text.getvalue())
        self._file.flush()

    def end(self) -> None:
        pass


class _Json:
    def add(self, result: _Result) -> None:
        if result.prediction is None:
            line = {"file": result.file, "problem": result.problem}
        else:
            line = {"file": result.file, **result.prediction.model_dump()}
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def end(self) -> None:
        pass


class _Table:
    def __init__(self, language: Language) -> None:
        self._language, self._words = language, _WORDS[language]
        file, *others = self._words.headings
        self._table = Table(Column(file, overflow="fold"), *others)

    def add(self, result: _Result) -> None:
        if result.prediction is None:
            self._table.add_row(Text(result.file), "", "", "", Text(f"{result.problem}"))
            return
        if not result.prediction.faces:
            self._table.add_row(Text(result.file), self._words.no_face, "", "", "")
        for number, face in enumerate(result.prediction.faces):
            box = f"{face.box.width}x{face.box.height} {self._words.at} {face.box.x}, {face.box.y}"
            emotion = name(face.emotion, self._language) + (f" ({self._words.unclear})" if face.unclear else "")
            self._table.add_row(Text(result.file), str(number), box, emotion, f"{face.confidence:.2f}")

    def end(self) -> None:
        Console().print(self._table)


def _resume(path: Path) -> set[str]:
    """The files that a CSV has, whose last row, if it was cut off, is taken out of it with all of its photo's.

    Raises:
        EmotionError: it is another file.
    """
    if not path.exists() or not path.stat().st_size:
        return set()
    with path.open(encoding="utf-8", errors=_NAMES, newline="") as file:
        text = file.read()
    whole = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
    rows = list(csv.reader(io.StringIO(whole)))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise EmotionError(f"{path}: is not a CSV of this command; leave --resume out to write it anew")
    if len(whole) < len(text) and len(rows) > 1:
        half = next(csv.reader(io.StringIO(text[len(whole) :])), [""])[0]
        rows = [rows[0], *(row for row in rows[1:] if row[0] != half)]
    with path.open("w", encoding="utf-8", errors=_NAMES, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return {row[0] for row in rows[1:]}
