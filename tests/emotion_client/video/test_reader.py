"""What is no video, and what is turned."""

from pathlib import Path

import av
import pytest

from emotion_client.video.errors import VideoError
from emotion_client.video.reader import Frame, Video
from emotion_client.video.writer import Writer
from tests.emotion_client.video.videos import SAMPLES, frames, write


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"not a video\n" * 50, "is no video"),
        ("notes.txt", b"not a video\n" * 50, "is no video"),
        ("photo.jpg", (SAMPLES / "one.jpg").read_bytes(), "photos"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "video"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=reason) as caught:
        Video(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="folder"):
        Video(tmp_path)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        piece = av.AudioFrame(format="s16", layout="mono", samples=800)
        piece.sample_rate = 8000
        container.mux(stream.encode(piece))
    with pytest.raises(VideoError, match="no video stream"):
        Video(tmp_path / "sound.wav")


def test_a_turned_video_is_read_upright(tmp_path: Path) -> None:
    upright = frames(3, (480, 640))
    write(tmp_path / "turned.mp4", [one.rotate(90, expand=True) for one in upright], [0, 100, 200])
    turn(tmp_path / "turned.mp4")
    with Video(tmp_path / "turned.mp4") as video:
        pictures = [item.picture for item in video.read() if isinstance(item, Frame)]
    assert [picture.size for picture in pictures] == [(480, 640)] * 3
    # The middle of the photo, not its mirror image and not upside down.
    for x, y in ((150, 250), (300, 400), (240, 320)):
        want, have = upright[0].getpixel((x, y)), pictures[0].getpixel((x, y))
        assert isinstance(want, tuple)
        assert isinstance(have, tuple)
        assert max(abs(a - b) for a, b in zip(want, have, strict=True)) < 40


def turn(path: Path) -> None:
    """Write into the track header of an MP4 that it is to be turned clockwise by 90 degrees, as phones do."""
    content = bytearray(path.read_bytes())
    one = (1 << 16).to_bytes(4, "big")
    none, minus = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True)
    end = (1 << 30).to_bytes(4, "big")
    plain = b"".join((one, none, none, none, one, none, none, none, end))
    turned = b"".join((none, one, none, minus, none, none, none, none, end))
    header = content.index(b"tkhd")
    place = content.index(plain, header)
    content[place : place + 36] = turned
    path.write_bytes(content)


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(2), [0, 100])
    with Video(tmp_path / "in.mp4") as video, pytest.raises(VideoError, match="overwrite"):
        Writer(tmp_path / "in.mp4", video)
    with Video(tmp_path / "in.mp4") as video, pytest.raises(VideoError, match="cannot be written"):
        Writer(tmp_path / "missing" / "out.mp4", video)
    with Video(tmp_path / "in.mp4") as video, pytest.raises(VideoError, match="cannot be written"):
        Writer(tmp_path / "out.webm", video)
