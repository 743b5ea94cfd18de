"""The marked frames and the sound as a file."""

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from PIL import Image

from emotion_client.video.errors import VideoError
from emotion_client.video.reader import Frame, Sound, Video

_QUALITY = {"crf": "20", "preset": "veryfast"}


@dataclass
class Writer:
    """A file that is being written; a context manager. Each frame keeps its time, and the sound is copied as it is.

    Args:
        path: its ending tells the container, such as .mp4 or .mkv.
        source: whose sound, times and shape of pixels it gets.

    Raises:
        VideoError: the file cannot be written.
    """

    path: Path
    source: Video
    # Codecs of the sound that this container does not take.
    left_out: list[str] = field(default_factory=list, init=False)
    _size: tuple[int, int] | None = field(default=None, init=False)
    # Packets of the sound that came before the first frame, which says how large the video is.
    _early: "list[Sound]" = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.path.exists() and self.path.samefile(self.source.path):
            raise VideoError(f"{self.path}: would overwrite the video that is read")
        try:
            self.path.open("wb").close()
            self._container = av.open(str(self.path.absolute()), "w")
            self._video = self._container.add_stream("libx264", rate=self.source.rate)
        except (av.FFmpegError, OSError, ValueError):
            with suppress(OSError):
                self.path.unlink()
            raise VideoError(
                f"{self.path}: cannot be written: the folder must be there, and the name end in .mp4, .mkv or .mov"
            ) from None
        self._video.pix_fmt = "yuv420p"
        self._video.options = dict(_QUALITY)
        self._sound: dict[int, av.AudioStream] = {}
        for stream in self.source.sound:
            if stream.codec_context.name in self._container.supported_codecs:
                self._sound[stream.index] = self._container.add_stream_from_template(stream)
            else:
                self.left_out.append(stream.codec_context.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Also after an error what was written can be played."""
        try:
            if self._size is not None:
                self._container.mux(self._video.encode(None))
        finally:
            self._container.close()

    def add_frame(self, frame: Frame, picture: Image.Image) -> None:
        """Encode a frame.

        Args:
            picture: what is seen at the frame's time.
        """
        if self._size is None:
            self._begin(frame, picture.size)
        assert self._size is not None
        if picture.size != self._size:
            # Even sides, and the same over all of the video.
            near = max(abs(have - want) for have, want in zip(picture.size, self._size, strict=True)) <= 1
            picture = picture.crop((0, 0, *self._size)) if near else picture.resize(self._size)
        encoded: av.VideoFrame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
        encoded.pts, encoded.time_base = frame.pts, frame.time_base
        try:
            self._container.mux(self._video.encode(encoded))
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"{self.path}: cannot be written: {error}") from None

    def add_sound(self, packet: Sound) -> None:
        """Copy a packet."""
        if packet.stream.index not in self._sound:
            return
        if self._size is None:
            self._early.append(packet)
            return
        packet.stream = self._sound[packet.stream.index]
        self._container.mux_one(packet)

    def _begin(self, frame: Frame, size: tuple[int, int]) -> None:
        self._size = (max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2))
        self._video.width, self._video.height = self._size
        self._video.codec_context.time_base = frame.time_base
        shape = self.source.stream.sample_aspect_ratio
        if shape and shape != 1:
            turned = (self.source.stream.width > self.source.stream.height) != (size[0] > size[1])
            self._video.codec_context.sample_aspect_ratio = 1 / Fraction(shape) if turned else Fraction(shape)
        early, self._early = self._early, []
        for packet in early:
            self.add_sound(packet)
