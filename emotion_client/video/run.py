"""From a file to a picture, a table and another video, with bounded memory."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, ParamSpec, TypeAlias, TypeVar

from PIL import Image

from emotion_client.emotions import Language
from emotion_client.video.answers import Predict, Prediction
from emotion_client.video.mark import mark
from emotion_client.video.reader import Frame, Sound, Video
from emotion_client.video.table import Table
from emotion_client.video.timeline import Timeline, check
from emotion_client.video.tracks import MEMORY_S, Track, Tracks
from emotion_client.video.writer import Writer

IN_FLIGHT = 4
"""Requests at a time."""
_WAITING = 8
"""Frames that are decoded and not yet written, at most."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made of a video."""

    video: Path | None = None
    table: IO[str] | None = None
    picture: Path | None = None
    # Seconds between the frames that are looked at; 0: each.
    every_s: float = 0.0
    language: Language = "en"


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    frames: int = 0
    looked_at: int = 0
    faces: int = 0
    tracks: int = 0
    # In words: what the file lacks, and what of the sound could not be kept.
    damage: str | None = None
    sound_left_out: str | None = None


@dataclass(slots=True)
class _Step:
    """A frame on its way; None: it is not looked at."""

    frame: Frame
    prediction: "asyncio.Task[Prediction] | None"


_P = ParamSpec("_P")
_R = TypeVar("_R")
_Queue: TypeAlias = "asyncio.Queue[_Step | Sound | None]"


@dataclass
class _Run:
    video: Video
    predict: Predict
    wanted: Wanted
    advance: Callable[[float], None]
    outcome: Outcome

    async def run(self) -> None:
        queue: _Queue = asyncio.Queue(_WAITING)
        if self.wanted.picture is not None:
            check(self.wanted.picture)
        with ExitStack() as stack:
            self._writer = stack.enter_context(Writer(self.wanted.video, self.video)) if self.wanted.video else None
            self._table = Table(self.wanted.table) if self.wanted.table else None
            step_s = max(self.wanted.every_s, float(1 / self.video.rate))
            self._tracks = Tracks(memory_s=max(MEMORY_S, 1.5 * step_s))
            self._timeline = Timeline(step_s)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read(queue, group))
                    group.create_task(self._finish(queue))
            except* Exception as errors:
                # The first is the reason of the others.
                raise errors.exceptions[0] from None
            finally:
                if self._writer is not None and self._writer.left_out:
                    self.outcome.sound_left_out = ", ".join(self._writer.left_out)
                if self.wanted.picture is not None:
                    self._timeline.draw(self.wanted.picture, self.wanted.language, self.video.path.name)

    async def _read(self, queue: _Queue, group: asyncio.TaskGroup) -> None:
        """Decode, and ask for each frame that is due."""
        slots = asyncio.Semaphore(IN_FLIGHT)
        items = self.video.read()
        due: float | None = None
        while (item := await _in_thread(next, items, None)) is not None:
            if not isinstance(item, Frame):
                if self._writer is not None:
                    await queue.put(item)
                continue
            asked = None
            if due is None or item.time_s >= due - 1e-6:
                due = item.time_s if due is None else due
                while self.wanted.every_s and due <= item.time_s + 1e-6:
                    due += self.wanted.every_s
                await slots.acquire()
                asked = group.create_task(self._ask(item, slots))
            elif self._writer is None:
                continue
            await queue.put(_Step(item, asked))
        await queue.put(None)

    async def _ask(self, frame: Frame, slots: asyncio.Semaphore) -> Prediction:
        try:
            return await self.predict(await _in_thread(_jpeg, frame.picture))
        finally:
            slots.release()

    async def _finish(self, queue: _Queue) -> None:
        """Use the answers in the order of the frames."""
        seen: list[Track] = []
        while (item := await queue.get()) is not None:
            if not isinstance(item, _Step):
                if self._writer is not None:
                    await _in_thread(self._writer.add_sound, item)
                continue
            frame = item.frame
            if item.prediction is not None:
                seen = self._follow(frame, await item.prediction)
            self.outcome.frames += 1
            if self._writer is not None:
                await _in_thread(self._draw, self._writer, frame, seen)
            self.advance(frame.time_s - self.video.start_s)

    def _follow(self, frame: Frame, prediction: Prediction) -> list[Track]:
        tracks = self._tracks.follow(prediction.faces, frame.time_s)
        self.outcome.looked_at += 1
        self.outcome.faces += len(tracks)
        self.outcome.tracks = max([self.outcome.tracks, *(track.number for track in tracks)])
        if self._table is not None:
            self._table.add(frame.time_s, frame.number, prediction, tracks)
        self._timeline.add(frame.time_s, tracks)
        return tracks

    def _draw(self, writer: Writer, frame: Frame, tracks: list[Track]) -> None:
        mark(frame.picture, tracks, self.wanted.language)
        writer.add_frame(frame, frame.picture)


async def run(video: Video, predict: Predict, wanted: Wanted, advance: Callable[[float], None]) -> Outcome:
    """Look at a video.

    Args:
        predict: a photo's faces, by a client.
        advance: is told how many seconds of the video are done.

    Raises:
        VideoError: something cannot be written. What was written before can be used.
        EmotionError: the service does not answer. The same holds.
    """
    outcome = Outcome()
    await _Run(video, predict, wanted, advance, outcome).run()
    outcome.damage = video.damage
    return outcome


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


async def _in_thread(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """As asyncio.to_thread(), but a thread that is cancelled ends first: nobody closes a file that it is using."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
