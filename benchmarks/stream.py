"""Camera streams against a running service: `make serve`, and in another shell `python benchmarks/stream.py`.

A video is made of the bundled portraits, 480 pixels high, which drift as heads do. It is sent as a camera sends: a
frame when its time has come, whether the last one was answered or not. For each number of streams it prints how many
frames were answered, and how long these took from sending to the reply.
"""

import argparse
import asyncio
import json
import math
import statistics
from io import BytesIO
from pathlib import Path
from time import monotonic

from PIL import Image
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
HEIGHT, FRAMES = 480, 120
# Streams, and frames a second of each. The last ones are more than two cores can do.
CASES = ((1, 20), (4, 8), (8, 20), (16, 20))


def video() -> list[bytes]:
    """JPEG frames of a camera of 640 x 480."""
    photo = Image.open(SAMPLES / "two.jpg").convert("RGB")
    frames = []
    for index in range(FRAMES):
        turn = 2 * math.pi * index / FRAMES
        width = photo.width * (0.9 + 0.04 * math.sin(2 * turn))
        left, top = (photo.width - width) * (0.5 + 0.4 * math.sin(turn)), 10 + 10 * math.cos(turn)
        box = (left, top, left + width, min(photo.height, top + width * 0.55))
        file = BytesIO()
        size = (round(HEIGHT * photo.width / photo.height), HEIGHT)
        photo.resize(size, box=box).save(file, "JPEG", quality=70)
        frames.append(file.getvalue())
    return frames


async def camera(url: str, frames: list[bytes], rate: float, seconds: float) -> tuple[list[float], list[str]]:
    """One stream: milliseconds of each answered frame, and what became of all."""
    sent: list[float] = []
    took: list[float] = []
    outcomes: list[str] = []
    async with connect(url, subprotocols=[Subprotocol("emotion.v1")], proxy=None, max_size=None) as stream:
        await stream.send(json.dumps({"type": "configure"}))

        async def read() -> None:
            async for message in stream:
                reply = json.loads(message)
                outcomes.append(reply.get("reason", reply["type"]))
                if reply["type"] == "result":
                    took.append((monotonic() - sent[reply["seq"]]) * 1000)

        reader = asyncio.create_task(read())
        begin = monotonic()
        for index in range(int(seconds * rate)):
            await asyncio.sleep(max(0, begin + index / rate - monotonic()))
            sent.append(monotonic())
            await stream.send(frames[index % len(frames)])
        await asyncio.sleep(1)
        await stream.close()
        await reader
    return took, outcomes


async def measure(url: str, frames: list[bytes], streams: int, rate: float, seconds: float) -> str:
    """A row of the table."""
    done = await asyncio.gather(*(camera(url, frames, rate, seconds) for _ in range(streams)))
    took = sorted(value for values, _ in done for value in values)
    outcomes = [outcome for _, all_of_one in done for outcome in all_of_one]
    share = len(took) / len(outcomes)
    cells = [
        str(streams),
        f"{rate:g}",
        f"{share:.1%}",
        f"{len(took) / streams / seconds:.1f}",
        *(f"{statistics.quantiles(took, n=100)[percent - 1]:.0f}" for percent in (50, 95, 99)),
        ", ".join(f"{name} {outcomes.count(name)}" for name in sorted(set(outcomes) - {"result"})) or "none",
    ]
    return "| " + " | ".join(cells) + " |"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="ws://127.0.0.1:8000/v1/stream")
    parser.add_argument("--seconds", type=float, default=15, help="of each case")
    options = parser.parse_args()
    frames = video()
    print("| streams | frames/s of each | answered | answered/s of each | p50 ms | p95 ms | p99 ms | not answered |")
    print("|---|---|---|---|---|---|---|---|")
    for streams, rate in CASES:
        print(await measure(options.url, frames, streams, rate, options.seconds), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
