"""A 720p video against a stream of the same frames: `make serve`, and in another shell `python -m benchmarks.video`.

Both look for faces in every frame. The stream gets each JPEG when the last one was answered; the video is decoded,
marked and encoded besides. They alternate, so that both meet the same machine.
The last line is the ratio of their rates.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from time import monotonic

import av
import httpx
from PIL import Image
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from api.http.schemas import PredictResponse
from emotion_client.video.reader import Frame, Video
from emotion_client.video.run import Wanted, run

SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
SIZE, RATE = (1280, 720), 25


def make(path: Path, count: int) -> None:
    """Two people who drift to the right."""
    photo = Image.open(SAMPLES / "two.jpg").convert("RGB")
    photo.thumbnail((SIZE[0] - 120, SIZE[1]))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            picture = Image.new("RGB", SIZE, "#8090a0")
            picture.paste(photo, (round(120 * index / count), (SIZE[1] - photo.height) // 2))
            frame: av.VideoFrame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def jpegs(path: Path) -> list[bytes]:
    """The frames, as a browser would send them."""
    contents = []
    with Video(path) as video:
        for item in video.read():
            if isinstance(item, Frame):
                file = BytesIO()
                item.picture.save(file, "JPEG", quality=90)
                contents.append(file.getvalue())
    return contents


async def by_stream(url: str, contents: list[bytes]) -> float:
    """Frames a second."""
    address = url.replace("http", "ws", 1) + "/v1/stream"
    async with connect(address, subprotocols=[Subprotocol("emotion.v1")], proxy=None) as stream:
        await stream.send(json.dumps({"type": "configure"}))
        answered, begin = 0, monotonic()
        for content in contents:
            await stream.send(content)
            answered += json.loads(await stream.recv())["type"] == "result"
        return answered / (monotonic() - begin)


async def by_video(url: str, path: Path, out: Path) -> float:
    """Frames a second, from opening the file to the last byte of the other."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def predict(content: bytes) -> PredictResponse:
            answer = await client.post("/v1/predict", content=content, headers={"Content-Type": "image/jpeg"})
            return PredictResponse.model_validate_json(answer.raise_for_status().content)

        begin = monotonic()
        with Video(path) as video:
            outcome = await run(video, predict, Wanted(video=out), lambda done: None)
        return outcome.looked_at / (monotonic() - begin)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        make(path, options.frames)
        contents = jpegs(path)
        print("| stream, frames/s | video, frames/s | ratio |\n|---|---|---|")
        for _ in range(options.rounds):
            stream = await by_stream(options.url, contents)
            video = await by_video(options.url, path, out)
            ratios.append(video / stream)
            print(f"| {stream:.1f} | {video:.1f} | {ratios[-1]:.2f} |", flush=True)
    print(f"ratio, median of {options.rounds}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    asyncio.run(main())
