"""Frames with their exact times, upright, and the packets of the sound."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import av
from av.stream import Disposition
from PIL import Image

from emotion_client.video.errors import VideoError

_PICTURES = ("image2", "tty", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "gif_pipe", "svg_pipe")
"""Formats of libav that have one picture, or text, and would be read as a video of one frame."""
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
Sound: TypeAlias = "av.Packet[av.AudioStream]"
_TOLERANCE_S = 0.5
"""A container's duration is not exact: a video that ends this much earlier is whole."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it is to be seen."""

    # From 0, of those that could be decoded.
    number: int
    # Presentation timestamp in units of time_base; their product is the time in seconds.
    pts: int
    time_base: Fraction
    # RGB, upright.
    picture: Image.Image

    @property
    def time_s(self) -> float:
        return float(self.pts * self.time_base)


@dataclass
class Video:
    """A file that is being read; a context manager.

    Raises:
        VideoError: there is no such file, or it is no video.
    """

    path: Path
    # Packets that could not be decoded, and frames that could.
    broken: int = field(default=0, init=False)
    frames: int = field(default=0, init=False)
    _packets: int = field(default=0, init=False)
    # Seconds that packets reach to.
    _end_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise VideoError(f"{self.path}: there is no such file")
        if not self.path.is_file():
            raise VideoError(f"{self.path}: is a folder, not a video")
        try:
            if not self.path.stat().st_size:
                raise VideoError(f"{self.path}: is empty")
            # A playlist must not make us ask another machine.
            self._container = av.open(str(self.path.absolute()), options={"protocol_whitelist": "file"})
        except PermissionError:
            raise VideoError(f"{self.path}: may not be read") from None
        except (av.FFmpegError, OSError, ValueError):
            raise VideoError(
                f"{self.path}: is no video, or is cut off before the index without which it cannot be read"
            ) from None
        videos = [one for one in self._container.streams.video if not one.disposition & Disposition.attached_pic]
        picture = self._container.format.name in _PICTURES
        if picture or not videos:
            self._container.close()
            reason = "is no video (photos: emotion predict)" if picture else "has no video stream"
            raise VideoError(f"{self.path}: {reason}")
        self.stream = videos[0]
        self.stream.thread_type = "AUTO"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def sound(self) -> list[av.AudioStream]:
        return list(self._container.streams.audio)

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def duration_s(self) -> float | None:
        """From the first timestamp to the last, as the file says; None: it does not."""
        if self._container.duration is None or self._container.duration <= 0:
            return None
        return self._container.duration / av.time_base

    @property
    def start_s(self) -> float:
        return (self._container.start_time or 0) / av.time_base

    def read(self) -> "Iterator[Frame | Sound]":
        """Frames, and the sound's packets, in the file's order. What cannot be read is counted, and left out."""
        packets: Iterator[av.Packet[Any]] = self._container.demux(self.stream, *self.sound)
        last: int | None = None
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                # What follows a hole that the demuxer does not get over cannot be read.
                self.broken += 1
                packet = None
            if packet is None:
                return
            self._note(packet)
            if isinstance(packet.stream, av.AudioStream):
                if packet.size and packet.dts is not None:
                    yield packet
                continue
            for decoded in self._decode(packet):
                pts = decoded.pts
                time_base = decoded.time_base or self.stream.time_base or 1 / self.rate
                if pts is None:
                    # Raw streams have no timestamps.
                    pts = round(self.frames / self.rate / time_base)
                if last is not None and pts <= last:
                    # Two frames of one time cannot be told apart, by players neither.
                    pts = last + 1
                last = pts
                yield Frame(self.frames, pts, time_base, _upright(decoded))
                self.frames += 1

    def _note(self, packet: "av.Packet[Any]") -> None:
        if not packet.size:
            return
        if packet.stream is self.stream:
            self._packets += 1
        if packet.pts is not None and packet.time_base:
            self._end_s = max(self._end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))

    def _decode(self, packet: "av.Packet[av.VideoStream]") -> list[av.VideoFrame]:
        try:
            return self.stream.decode(packet)
        except av.FFmpegError:
            self.broken += 1
            # The next keyframe begins anew.
            with suppress(av.FFmpegError):
                self.stream.codec_context.flush_buffers()
            return []

    @property
    def damage(self) -> str | None:
        """After read(): what the file lacks, in words; None: nothing."""
        duration, end = self.duration_s, self._end_s - self.start_s
        short = duration is not None and end < duration - _TOLERANCE_S
        if short or self._packets < self.stream.frames:
            whole = f" of {duration:.1f} s" if duration is not None else ""
            return f"the file is cut off: {max(end, 0):.1f} s{whole} could be read"
        if self.broken:
            return f"the file is damaged: {self.broken} pieces could not be decoded"
        return None if self.frames else "no frame could be decoded"


def _upright(frame: av.VideoFrame) -> Image.Image:
    picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    turn = _TURNS.get(round(frame.rotation / 90) * 90 % 360)
    return picture if turn is None else picture.transpose(turn)
