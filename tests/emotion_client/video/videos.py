"""Videos of the bundled portraits, made by PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[3] / "api" / "samples"


def frames(count: int, size: tuple[int, int] = (640, 480)) -> list[Image.Image]:
    """Two people, who drift from left to right by 40 pixels."""
    photo = Image.open(SAMPLES / "two.jpg").convert("RGB")
    photo.thumbnail((size[0] - 40, size[1]))
    pictures = []
    for index in range(count):
        picture = Image.new("RGB", size, "#8090a0")
        picture.paste(photo, (round(40 * index / count), (size[1] - photo.height) // 2))
        pictures.append(picture)
    return pictures


def write(
    path: Path,
    pictures: Sequence[Image.Image],
    times_ms: Sequence[int],
    *,
    sound: str | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:
    """A video whose frames are at these milliseconds; `sound` is a codec for a tone."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=30)
        video.width, video.height = pictures[0].size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.gop_size = 5
        audio = container.add_stream(sound, rate=44100, layout="mono") if sound else None
        for picture, at in zip(pictures, times_ms, strict=True):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, times_ms[-1] * 44, 1024):
                tone = np.sin((start + np.arange(1024)) * 0.06).astype(np.float32)[None] * 0.2
                piece = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
                piece.sample_rate, piece.pts, piece.time_base = 44100, start, Fraction(1, 44100)
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
