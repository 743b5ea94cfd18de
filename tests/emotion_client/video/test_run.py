"""Videos through the real service."""

import asyncio
import csv
import itertools
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from emotion_client.video.errors import VideoError
from emotion_client.video.reader import Video
from emotion_client.video.run import Outcome, Wanted, run
from tests.emotion_client.video.videos import frames, write

# As phones write them: no two frames of the same length.
TIMES = [0, 33, 67, 133, 150, 250, 267, 400, 433, 600]


async def look(
    path: Path, predict: Any, advance: Callable[[float], None] = lambda done: None, **wanted: Any
) -> tuple[Outcome, list[dict[str, str]]]:
    table = StringIO()
    with Video(path) as video:
        outcome = await run(video, predict, Wanted(table=table, **wanted), advance)
    return outcome, list(csv.DictReader(StringIO(table.getvalue())))


def times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [round(frame.time * 1000) for frame in container.decode(video=0)]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


async def test_each_face_keeps_its_track_and_each_frame_its_exact_time(predict: Any, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(10), TIMES)
    outcome, rows = await look(tmp_path / "in.mp4", predict)
    assert outcome.damage is None
    assert (outcome.frames, outcome.looked_at, outcome.faces, outcome.tracks) == (10, 10, 20, 2)
    assert [round(float(row["time"]) * 1000) for row in rows[::2]] == TIMES
    assert {row["track"] for row in rows} == {"1", "2"}
    for track in ("1", "2"):
        places = [int(row["x"]) for row in rows if row["track"] == track]
        assert max(abs(b - a) for a, b in itertools.pairwise(places)) < 40
    assert sum(
        float(rows[0][name]) for name in ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    ) == (pytest.approx(1, abs=1e-5))


async def test_the_marked_video_keeps_times_and_sound(predict: Any, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(10), TIMES, sound="aac")
    await look(tmp_path / "in.mp4", predict, video=tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == TIMES
    assert sound(tmp_path / "out.mp4") == sound(tmp_path / "in.mp4")


async def test_every_looks_at_some_frames_and_writes_all(predict: Any, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(10), TIMES)
    outcome, rows = await look(tmp_path / "in.mp4", predict, video=tmp_path / "out.mp4", every_s=0.2)
    assert sorted({int(row["frame"]) for row in rows}) == [0, 5, 7, 9]
    assert outcome.frames == 10
    assert times(tmp_path / "out.mp4") == TIMES


async def test_the_picture_is_drawn(predict: Any, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(10), TIMES)
    await look(tmp_path / "in.mp4", predict, picture=tmp_path / "plot.png", language="vi")
    with Image.open(tmp_path / "plot.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 5


async def test_a_picture_of_an_unknown_kind_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(2), [0, 100])
    with pytest.raises(VideoError, match="cannot be written"):
        await look(tmp_path / "in.mp4", None, picture=tmp_path / "plot.xyz")


async def test_a_video_that_is_cut_off_gives_what_can_be_read(predict: Any, tmp_path: Path) -> None:
    write(tmp_path / "whole.mp4", frames(30), range(0, 3000, 100), options={"movflags": "faststart"})
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    outcome, _rows = await look(tmp_path / "cut.mp4", predict, video=tmp_path / "out.mp4")
    assert outcome.damage is not None
    assert "cut off" in outcome.damage
    assert 5 < outcome.frames < 30
    assert len(times(tmp_path / "out.mp4")) == outcome.frames


async def test_an_error_of_the_service_leaves_a_video_that_plays(predict: Any, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(20), range(0, 2000, 100))
    asked, written = 0, 0
    eight = asyncio.Event()

    def advance(done: float) -> None:
        nonlocal written
        written += 1
        if written == 8:
            eight.set()

    async def fail_at_last(content: bytes) -> Any:
        nonlocal asked
        asked += 1
        if asked > 12:
            # A busy machine writes later than it asks.
            await eight.wait()
            raise ConnectionError("gone")
        return await predict(content)

    with pytest.raises(ConnectionError, match="gone"):
        await look(tmp_path / "in.mp4", fail_at_last, advance, video=tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) >= 8
