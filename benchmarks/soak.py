"""Half an hour of mixed load with faults: does the gateway keep its memory, threads and descriptors?

    python -m benchmarks.soak [--minutes 30] [--clients 6] [--seed 1] [--out benchmarks/records]

Clients take turns at random between photos, batches, heat maps, annotated pictures, feedback, streams, broken images,
broken forms, half uploads that are cut off, silent connections, unknown models and metrics. Every minute the model
server is frozen for 3 seconds or killed and started again. The gateway is sampled every 5 seconds. A record passes
where each figure's mean over the last third is at most 5 % over that of the middle third, and where no answer is a
500 or has a status that docs/api.md does not name.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import websockets

from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "api" / "samples"
EXPECTED = {200, 400, 404, 405, 406, 408, 413, 415, 422, 429, 499, 502, 503, 504}
SAMPLE_S = 5.0
FAULT_S = 60.0
CONFIG = """model_config_list {{ config {{
  name: "residual" base_path: "{root}/model_repository/residual" model_platform: "tensorflow"
}} }}
"""


class Load:
    """What clients do; `seen` counts what came of it."""

    def __init__(self, gateway: GatewayProcess, seed: int) -> None:
        self.gateway = gateway
        self.rng = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.photos = [(SAMPLES / name).read_bytes() for name in ("one.jpg", "two.jpg", "face.jpg")]
        self.last_id = "none"

    async def client(self, until: float) -> None:
        """One after the other, at random, until then."""
        kinds: list[tuple[int, Callable[[httpx.AsyncClient], Awaitable[str]]]] = [
            (8, self.photo),
            (1, self.batch),
            (1, self.explained),
            (1, self.picture),
            (2, self.feedback),
            (2, self.broken_image),
            (1, self.broken_form),
            (1, self.unknown),
            (1, self.metrics),
            (1, self.cut_off),
            (1, self.silent),
            (1, self.stream),
        ]
        weights = [weight for weight, _ in kinds]
        async with httpx.AsyncClient(base_url=self.gateway.url, timeout=30) as client:
            while time.monotonic() < until:
                [(_, kind)] = self.rng.choices(kinds, weights)
                try:
                    outcome = await kind(client)
                except (httpx.TransportError, OSError, websockets.WebSocketException) as error:
                    outcome = type(error).__name__
                self.seen[f"{kind.__name__} {outcome}"] += 1
                await asyncio.sleep(self.rng.expovariate(20))

    async def photo(self, client: httpx.AsyncClient) -> str:
        headers = {"Content-Type": "image/jpeg", "X-Subject-ID": str(self.rng.randrange(1000))}
        answer = await client.post("/v1/predict", content=self.rng.choice(self.photos), headers=headers)
        if answer.status_code == 200:
            self.last_id = answer.json()["id"]
        return str(answer.status_code)

    async def batch(self, client: httpx.AsyncClient) -> str:
        files = [("files", (f"{index}.jpg", photo)) for index, photo in enumerate([*self.photos, b"no image"])]
        return str((await client.post("/v1/predict/batch", files=files)).status_code)

    async def explained(self, client: httpx.AsyncClient) -> str:
        return str((await client.post("/v1/explain", files={"image": self.photos[1]})).status_code)

    async def picture(self, client: httpx.AsyncClient) -> str:
        headers = {"Content-Type": "image/jpeg", "Accept": "image/png"}
        return str((await client.post("/v1/predict", content=self.photos[0], headers=headers)).status_code)

    async def feedback(self, client: httpx.AsyncClient) -> str:
        body = {"prediction_id": self.last_id, "face": 0, "correct": True}
        headers = {"X-Admin-Key": "soak-soak-soak-soak"}
        return str((await client.post("/v1/feedback", json=body, headers=headers)).status_code)

    async def broken_image(self, client: httpx.AsyncClient) -> str:
        photo = bytearray(self.rng.choice(self.photos))
        for _ in range(20):
            photo[self.rng.randrange(len(photo))] = self.rng.randrange(256)
        content = bytes(photo[: self.rng.randrange(1, len(photo))])
        return str((await client.post("/v1/predict", content=content)).status_code)

    async def broken_form(self, client: httpx.AsyncClient) -> str:
        kind = {"Content-Type": f"multipart/form-data; boundary=b; charset={self.rng.choice(('punycode', 'utf-7'))}"}
        body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"a" * self.rng.randrange(100_000)
        return str((await client.post("/v1/predict", content=body, headers=kind)).status_code)

    async def unknown(self, client: httpx.AsyncClient) -> str:
        query = self.rng.choice(("model=none", "version=999", "label=none", "min_face=-1", "x=1"))
        path = f"/v1/predict?{query}"
        answer = await client.post(path, content=self.photos[2], headers={"Content-Type": "image/jpeg"})
        return str(answer.status_code)

    async def metrics(self, client: httpx.AsyncClient) -> str:
        return str((await client.get("/metrics")).status_code)

    async def cut_off(self, client: httpx.AsyncClient) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 100_000)
        await writer.drain()
        peer: socket.socket = writer.get_extra_info("socket")
        # A reset in place of a close.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        return "cut off"

    async def silent(self, client: httpx.AsyncClient) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        writer.write(b"GET /healthz HT")
        await asyncio.sleep(1)
        writer.close()
        return "silent"

    async def stream(self, client: httpx.AsyncClient) -> str:
        url = f"ws://127.0.0.1:{self.gateway.port}/v1/stream"
        kinds = set()
        async with websockets.connect(url, subprotocols=[websockets.Subprotocol("emotion.v1")]) as socket_:
            for _ in range(10):
                await socket_.send(self.rng.choice([*self.photos, b"no image"]))
                kinds.add(json.loads(await socket_.recv())["type"])
        return " ".join(sorted(kinds))


async def faults(server: ModelServer, until: float, rng: random.Random) -> int:
    """Freeze the model server, or kill it and start it again, every minute; how often."""
    count = 0
    while time.monotonic() + FAULT_S < until:
        await asyncio.sleep(FAULT_S)
        count += 1
        if rng.random() < 0.5:
            server.freeze()
            await asyncio.sleep(3)
            server.thaw()
        else:
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            await asyncio.to_thread(server.start)
    return count


async def sample(process: int, until: float) -> list[dict[str, float]]:
    """The gateway's, every few seconds."""
    samples = []
    while time.monotonic() < until:
        samples.append(_usage(process))
        await asyncio.sleep(SAMPLE_S)
    return samples


def _usage(process: int) -> dict[str, float]:
    """Resident MB, threads and descriptors."""
    home = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (home / "status").read_text(encoding="utf-8").splitlines())
    return {
        "resident MB": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "descriptors": len(list((home / "fd").iterdir())),
    }


async def soak(minutes: float, clients: int, seed: int) -> tuple[str, bool]:
    """The record as Markdown, and whether it passes."""
    folder = Path(tempfile.mkdtemp())
    config = folder / "models.config"
    config.write_text(CONFIG.format(root=ROOT), encoding="utf-8")
    server = ModelServer(f"--model_config_file={config}")
    gateway = GatewayProcess(
        folder / "gateway", model_server=server.address, default_label="", admin_key="soak-soak-soak-soak"
    )
    try:
        load = Load(gateway, seed)
        until = time.monotonic() + 60 * minutes
        samples, fault_count, *_ = await asyncio.gather(
            sample(gateway.process.pid, until),
            faults(server, until, random.Random(seed)),
            *(load.client(until) for _ in range(clients)),
        )
        async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
            with suppress(httpx.TransportError):
                load.seen[f"at the end {(await client.get('/healthz')).status_code}"] += 1
    finally:
        gateway.close()
        with suppress(Exception):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    lines = [
        f"# {minutes:g} minutes of mixed load with {fault_count} faults, seed {seed}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python -m benchmarks.soak --minutes {minutes:g} --clients {clients} --seed {seed}`: "
        f"{sum(load.seen.values()):,} requests.",
        "",
        "| | middle third | last third | largest | change |",
        "|---|---|---|---|---|",
    ]
    third, passes = len(samples) // 3, load.seen["at the end 200"] == 1
    for name in samples[0]:
        middle = statistics.fmean(each[name] for each in samples[third : 2 * third])
        last = statistics.fmean(each[name] for each in samples[2 * third :])
        largest = max(each[name] for each in samples)
        lines.append(f"| {name} | {middle:.1f} | {last:.1f} | {largest:.0f} | {last / middle - 1:+.1%} |")
        passes &= last <= 1.05 * middle
    lines += ["", "| what came of it | |", "|---|---|"]
    for kind, count in sorted(load.seen.items()):
        status = kind.rsplit(" ", 1)[1]
        passes &= not status.isdecimal() or int(status) in EXPECTED
        lines.append(f"| {kind.replace('_', ' ')} | {count:,} |")
    return "\n".join([*lines, "", "Passed." if passes else "Failed."]) + "\n", passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the record, soak-DATE.md")
    options = parser.parse_args()
    text, passes = asyncio.run(soak(options.minutes, options.clients, options.seed))
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"soak-{datetime.now(UTC):%Y-%m-%d}.md").write_text(text, encoding="utf-8")
    sys.exit(not passes)


if __name__ == "__main__":
    main()
