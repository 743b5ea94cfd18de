"""What goes wrong during an experiment, under load: does a request fail, and what happens to the 99th percentile?

    python -m benchmarks.ab_drills --rate 30 --seconds 30

Starts PostgreSQL, `python -m serving` on shipped models and two gateways, and sends requests at a fixed rate, timed
from when each was due: a server that stalls cannot slow its own clock. While they run, the shadow's model is unloaded,
the database killed, and the variant's version unloaded, each between stretches in which nothing happens, whose own
spread says what noise is.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer
from tests.postgres import PROGRAMS, PostgresServer

ROOT = Path(__file__).resolve().parent.parent
FACE = (ROOT / "api" / "samples" / "face.jpg").read_bytes()
KEY = "a key of the drills"
SUBJECTS = 200

console = Console(width=120)


@dataclass
class Stretch:
    """Answers of some seconds. latencies: seconds from when each was due; variants: of each subject."""

    name: str
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    fallbacks: int = 0

    def percentile(self, q: float) -> float:
        return 1000 * float(np.percentile(self.latencies, q))


class Drill:
    """Two gateways under load. variants: which each subject was ever given."""

    def __init__(self, clients: list[httpx.AsyncClient], rate: float, seconds: float) -> None:
        self._clients = clients
        self._rate = rate
        self._seconds = seconds
        self._sent = 0
        self.stretches: list[Stretch] = []
        self.variants: dict[int, set[str]] = {}

    async def run(self, name: str, happens: Callable[[], Awaitable[None]] | None = None) -> None:
        """One stretch; what happens does so after a fifth of it."""
        stretch = Stretch(name)
        start = time.perf_counter()
        event = asyncio.create_task(self._later(happens)) if happens else None
        asked = []
        for place in range(int(self._rate * self._seconds)):
            due = start + place / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked.append(asyncio.create_task(self._ask(stretch, due)))
        await asyncio.gather(*asked)
        if event:
            await event
        self.stretches.append(stretch)
        console.print(f"{name}: {len(asked)} requests, {stretch.failures.total()} failed", highlight=False)

    async def _later(self, happens: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._seconds / 5)
        await happens()

    async def _ask(self, stretch: Stretch, due: float) -> None:
        self._sent += 1
        client, subject = self._clients[self._sent % 2], self._sent // 2 % SUBJECTS
        headers = {"Content-Type": "image/jpeg", "X-Subject-ID": str(subject)}
        try:
            answer = await client.post("/v1/predict?crop=none", content=FACE, headers=headers)
        except httpx.HTTPError as error:
            stretch.failures[type(error).__name__] += 1
            return
        stretch.latencies.append(time.perf_counter() - due)
        if answer.status_code != 200:
            stretch.failures[answer.json()["type"]] += 1
            return
        stretch.fallbacks += answer.json()["fallback"]
        self.variants.setdefault(subject, set()).add(answer.json()["variant"])

    async def metric(self, name: str, **labels: str) -> float:
        """Sum over both gateways of the samples with these labels."""
        total = 0.0
        for client in self._clients:
            text = (await client.get("/metrics")).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name == name and labels.items() <= sample.labels.items():
                        total += sample.value
        return total

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        async with asyncio.timeout(60):
            while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.2)
        console.print(f"  {what}", highlight=False)


def main(
    rate: Annotated[float, typer.Option(help="Requests a second, over both gateways.")] = 30,
    seconds: Annotated[float, typer.Option(help="Length of each stretch.")] = 30,
) -> None:
    """Exit status 1 when a request failed, or when a prediction that should be stored was not."""
    if PROGRAMS is None:
        raise SystemExit("no PostgreSQL: apt-get install postgresql")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = PostgresServer(PROGRAMS)
        stack.callback(database.remove)
        database.start()
        stack.callback(database.stop)
        config = folder / "models.config"
        _serve(config, residual=(1, 2), random=(1,))
        models = ModelServer(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
        stack.callback(models.stop)
        experiments = folder / "experiments.yaml"
        experiments.write_text(yaml.safe_dump(_experiments()))
        urls = []
        for number in (1, 2):
            gateway = GatewayProcess(
                folder / f"gateway-{number}",
                model_server=models.address,
                experiments=experiments,
                database_url=database.url(),
                subject_secret="the same for both gateways",
                admin_key=KEY,
                models="residual,random",
                breaker_open_s=2,
            )
            stack.callback(gateway.close)
            urls.append(gateway.url)
        failed = asyncio.run(_drill(urls, database, config, rate, seconds))
    raise SystemExit(1 if failed else 0)


async def _drill(urls: list[str], database: PostgresServer, config: Path, rate: float, seconds: float) -> bool:
    async with _clients(urls) as clients:
        drill = Drill(clients, rate, seconds)

        await drill.run("warm-up")
        await drill.run("nothing happens")
        await drill.run("nothing happens")
        await drill.run("shadow unloaded", lambda: asyncio.to_thread(_serve, config, residual=(1, 2), random=()))
        console.print(f"  shadow errors: {await drill.metric('emotion_shadow_errors_total'):.0f}", highlight=False)
        await drill.run("shadow loaded", lambda: asyncio.to_thread(_serve, config, residual=(1, 2), random=(1,)))
        await drill.run("nothing happens")
        await drill.run("database killed", lambda: asyncio.to_thread(database.stop))
        buffered = await drill.metric("emotion_outcomes_buffered")
        console.print(f"  predictions that wait for it: {buffered:.0f}", highlight=False)
        await drill.run("database started", lambda: asyncio.to_thread(database.start))
        await drill.run("nothing happens")
        await drill.run("variant unloaded", lambda: asyncio.to_thread(_serve, config, residual=(1,), random=(1,)))
        await drill.run("variant loaded", lambda: asyncio.to_thread(_serve, config, residual=(1, 2), random=(1,)))
        await drill.run("nothing happens")

        async def all_written() -> bool:
            return await drill.metric("emotion_outcomes_buffered") == 0

        await drill.until(all_written, "all predictions are written")
        lost = await drill.metric("emotion_outcomes_lost_total")
        report = (await clients[0].get("/v1/experiments/drill/report")).raise_for_status().json()
        table = Table("stretch", "requests", "failed", "fallbacks", "p50 ms", "p99 ms", "p99 / quiet p99")
        quiet = [each.percentile(99) for each in drill.stretches if each.name == "nothing happens"]
        for each in drill.stretches:
            table.add_row(
                each.name,
                str(len(each.latencies)),
                str(each.failures.total()),
                str(each.fallbacks),
                f"{each.percentile(50):.1f}",
                f"{each.percentile(99):.1f}",
                f"{each.percentile(99) / float(np.median(quiet)):.2f}",
            )
        console.print(table)
        several = sum(len(seen) > 1 for seen in drill.variants.values())
        console.print(f"p99 where nothing happens: {min(quiet):.1f} to {max(quiet):.1f} ms")
        console.print(f"subjects: {len(drill.variants)}, with more than one variant over two gateways: {several}")
        assigned, missing = (sum(report["split"][key].values()) for key in ("assigned", "lost"))
        console.print(f"requests assigned {assigned}, of these not stored {missing}; report: {report['verdict']}")
        failures = sum((each.failures for each in drill.stretches), Counter())
        if failures:
            console.print(f"failures: {dict(failures)}")
        return bool(failures or lost or missing or several)


def _experiments() -> dict[str, object]:
    return {
        "experiments": [
            {
                "name": "drill",
                "start": "2020-01-01T00:00:00Z",
                "variants": [
                    {"name": "old", "model": "residual", "version": 1, "weight": 1},
                    {"name": "new", "model": "residual", "version": 2, "weight": 1},
                ],
                "shadow": [{"name": "candidate", "model": "random", "version": 1}],
            }
        ]
    }


def _serve(config: Path, **models: tuple[int, ...]) -> None:
    """Write the models.config that serves these versions."""
    entries = [
        f'config {{ name: "{name}" base_path: "{ROOT}/model_repository/{name}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ {' '.join(f'versions: {version}' for version in versions)} }} }} }}"
        for name, versions in models.items()
        if versions
    ]
    partial = config.with_suffix(".partial")
    partial.write_text(f"model_config_list {{ {' '.join(entries)} }}\n")
    partial.replace(config)


@asynccontextmanager
async def _clients(urls: list[str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    headers = {"X-Admin-Key": KEY}
    async with (
        httpx.AsyncClient(base_url=urls[0], headers=headers, timeout=30) as one,
        httpx.AsyncClient(base_url=urls[1], headers=headers, timeout=30) as other,
    ):
        yield [one, other]


if __name__ == "__main__":
    typer.run(main)
