"""How long a report takes on many predictions, what memory, and how long the event loop stands still meanwhile.

    python -m benchmarks.report sqlite:////tmp/report.db --predictions 1000000           # two minutes
    python -m benchmarks.report postgresql://user@localhost/report --predictions 5000000 # ten

The database must be empty. It is filled once: a second run on it only measures. 1.2 faces a prediction, a fifth of them
with feedback, 100,000 subjects, a month of two variants.
"""

import asyncio
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from sqlalchemy import Engine, func, insert, select

from api.addresses import parse_url
from api.outcomes.database import open_engine, open_sync_engine
from api.outcomes.ids import new_id
from api.outcomes.migrate import migrate
from api.outcomes.store import OutcomeStore
from api.outcomes.tables import faces, feedback, predictions, splits
from api.reports.report import read_report

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
NAME, SPLIT, SUBJECTS = "race", "benchmark", 100_000
END = datetime(2026, 11, 1, tzinfo=UTC)

console = Console()


def main(
    url: Annotated[str, typer.Argument(help="As EMOTION_DATABASE_URL.")],
    predictions: int = 1_000_000,
) -> None:
    """Fill the database if it is empty, and measure one report."""
    parsed = parse_url(url)
    migrate(parsed)
    engine = open_sync_engine(parsed)
    if not _count(engine):
        _fill(engine, predictions)
    console.print(f"{_count(engine):,} predictions")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, longest = asyncio.run(_measure(parsed))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    console.print(f"report {seconds:.1f} s, {memory:.0f} MB more, longest stall of the loop {1000 * longest:.0f} ms")


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(predictions)).scalar_one()


async def _measure(url: Any) -> tuple[float, float]:
    engine = open_engine(url)
    longest, done = 0.0, asyncio.Event()

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done.is_set():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticking = asyncio.create_task(tick())
    start = time.perf_counter()
    found = await read_report(OutcomeStore(engine), NAME, effect=0.02, power=0.8)
    seconds = time.perf_counter() - start
    done.set()
    await ticking
    await engine.dispose()
    console.print(f"{found.verdict}; {sum(one.faces for one in found.variants):,} faces")
    return seconds, longest


def _fill(engine: Engine, count: int) -> None:
    rng = np.random.default_rng(0)
    moments = (END - timedelta(days=30) + timedelta(days=30) * i / count for i in range(count))
    with engine.begin() as connection:
        row = {"id": SPLIT, "experiment": NAME, "control": "a", "weights": {"a": 50, "b": 50}}
        connection.execute(insert(splits), [row | {"first_seen": END - timedelta(days=30)}])
    for _ in track(range(0, count, 5000), "filling", console=console):
        made, of_faces, given = _rows(rng, tuple(islice(moments, 5000)))
        with engine.begin() as connection:
            connection.execute(insert(predictions), made)
            connection.execute(insert(faces), of_faces)
            connection.execute(insert(feedback), given)


def _rows(rng: np.random.Generator, moments: tuple[datetime, ...]) -> tuple[list[Any], list[Any], list[Any]]:
    made, of_faces, given = [], [], []
    for moment, rolls in zip(moments, _rolls(rng, len(moments)), strict=True):
        subject, two, emotion, is_fallback, latency, tells, right = rolls
        variant = "ab"[subject % 2]
        identity, many = new_id(moment), 1 + two
        made.append(
            {
                "id": identity,
                "created_at": moment,
                "experiment": NAME,
                "variant": variant,
                "split": SPLIT,
                "fallback": is_fallback,
                "forced": False,
                "model": "random",
                "version": 1 + subject % 2,
                "subject": f"{subject:064x}",
                "classes": CLASSES,
                "faces": many,
                "latency_ms": latency,
            }
        )
        for face in range(many):
            of_faces.append(
                {
                    "prediction_id": identity,
                    "face": face,
                    "emotion": CLASSES[emotion],
                    "confidence": 0.7,
                    "probabilities": [0.05] * 6 + [0.7],
                }
            )
            if tells:
                true = CLASSES[emotion if right else (emotion + 1) % 7]
                given.append(
                    {
                        "prediction_id": identity,
                        "face": face,
                        "emotion": true,
                        "correct": right,
                        "received_at": moment,
                    }
                )
    return made, of_faces, given


def _rolls(rng: np.random.Generator, count: int) -> Iterator[tuple[int, int, int, bool, float, bool, bool]]:
    columns = (
        rng.integers(0, SUBJECTS, count),
        rng.random(count) < 0.2,
        rng.integers(0, 7, count),
        rng.random(count) < 0.01,
        rng.lognormal(3, 0.5, count),
        rng.random(count) < 0.2,
        rng.random(count) < 0.7,
    )
    for one in zip(*(column.tolist() for column in columns), strict=True):
        subject, two, emotion, is_fallback, latency, tells, right = one
        yield subject, int(two), emotion, is_fallback, latency, tells, right


if __name__ == "__main__":
    typer.run(main)
