"""Asks both about each photo of a folder."""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from emotion_client.compare.figures import Figures
from emotion_client.emotions import CLASSES
from emotion_client.video.answers import Box, Face, Predict, Prediction

_AT_A_TIME = 4
"""Photos; each is two requests, one after the other."""
SHOWN = 48
"""Faces that are remembered for the sheet: those that both were surest about."""
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".heic", ".heif", ".tif", ".tiff"}
_OTHER_NAMES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""What data sets call the classes besides."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A face that they see differently."""

    path: Path
    box: Box
    a: Face
    b: Face
    truth: str | None

    @property
    def sureness(self) -> float:
        return min(self.a.confidence, self.b.confidence)


@dataclass
class Comparison:
    """What came of it."""

    figures: Figures = field(default_factory=Figures)
    # Photos that could not be read, and why.
    problems: dict[Path, str] = field(default_factory=dict)
    _heap: list[tuple[float, int, Difference]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    @property
    def differences(self) -> list[Difference]:
        """The surest first, at most SHOWN."""
        return [one for _, _, one in sorted(self._heap, key=lambda entry: (-entry[0], str(entry[2].path)))]

    def add(self, path: Path, truth: str | None, a: Prediction, b: Prediction) -> None:
        """A photo's answers."""
        figures = self.figures
        figures.photos += 1
        figures.empty += not a.faces and not b.faces
        theirs = {_place(face.box): face for face in b.faces}
        pairs = [(face, theirs[place]) for face in a.faces if (place := _place(face.box)) in theirs]
        figures.unmatched += len(a.faces) + len(b.faces) - 2 * len(pairs)
        for one, other in pairs:
            figures.add_face(one.emotion, other.emotion)
            if one.emotion != other.emotion:
                difference = Difference(path, one.box, one, other, truth)
                heapq.heappush(self._heap, (difference.sureness, next(self._numbers), difference))
                if len(self._heap) > SHOWN:
                    heapq.heappop(self._heap)
        if truth is not None and a.faces and b.faces:
            figures.add_labelled(truth, a.faces[0].emotion, b.faces[0].emotion)


def photos(folder: Path) -> list[Path]:
    """All below a folder, by their endings; hidden ones are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def truths(folder: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """The emotion of each photo, where the folders that hold them are all named as emotions are; else nothing."""
    names = {path: path.parent.name.lower() for path in paths if path.parent != folder}
    known = {path: _OTHER_NAMES.get(name, name) for path, name in names.items()}
    return known if len(known) == len(paths) and set(known.values()) <= set(CLASSES) else {}


async def run(
    folder: Path, ask_a: Predict, ask_b: Predict, *, refused: type[Exception], advance: Callable[[], None]
) -> Comparison:
    """Compare on all photos of a folder.

    Args:
        refused: what a client raises for a photo that the service cannot read; other errors end the run.
        advance: is told of each photo that is done.
    """
    comparison = Comparison()
    paths = photos(folder)
    known = truths(folder, paths)
    waiting = iter(paths)

    async def work() -> None:
        for path in waiting:
            try:
                content = await asyncio.to_thread(path.read_bytes)
                answers = await ask_a(content), await ask_b(content)
            except OSError as error:
                comparison.problems[path] = error.strerror or str(error)
            except refused as error:
                comparison.problems[path] = str(error)
            else:
                comparison.add(path, known.get(path), *answers)
            advance()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_A_TIME):
                group.create_task(work())
    except* Exception as errors:
        raise errors.exceptions[0] from None
    return comparison


def _place(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.width, box.height
