"""Crowds that are hard on a gateway, one after the other: how long does /healthz wait meanwhile, and do photos pass?

    python -m benchmarks.crowds [--seconds 8] [--only WORD] [--out benchmarks/records]

/healthz is asked 50 times a second over one connection, from a process of its own. The gateway's memory is its largest
since it started. Goal: the 99th percentile of /healthz is under 100 ms in all of them.
"""

import argparse
import asyncio
import http.client
import multiprocessing
import os
import socket
import struct
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "api" / "samples"
CONFIG = """model_config_list {{ config {{
  name: "residual" base_path: "{root}/model_repository/residual" model_platform: "tensorflow"
}} }}
"""
POST = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
Crowd = Callable[[int, float], Awaitable[None]]


async def _until(end: float) -> None:
    await asyncio.sleep(max(0.0, end - time.monotonic()))


async def _send(port: int, content: bytes) -> None:
    """One connection: everything is sent, and the answer is read and thrown away."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(content)
        await writer.drain()
        await asyncio.wait_for(reader.read(65536), 30)
        writer.close()
    except OSError:
        # Refused or cut off: what a crowd is there for.
        await asyncio.sleep(0.01)


async def _keep_sending(port: int, end: float, content: bytes, connections: int) -> None:
    async def one() -> None:
        while time.monotonic() < end:
            await _send(port, content)

    await asyncio.gather(*(one() for _ in range(connections)))


async def nothing(port: int, end: float) -> None:
    """Nothing else."""
    await _until(end)


async def idle(port: int, end: float) -> None:
    """2,000 connections that say nothing."""
    writers = []
    for number in range(2000):
        try:
            source = (f"127.0.0.{2 + number // 1000}", 0)
            writers.append((await asyncio.open_connection("127.0.0.1", port, local_addr=source))[1])
        except OSError:
            break
    await _until(end)
    for writer in writers:
        writer.close()


async def reconnecting(port: int, end: float) -> None:
    """100 clients that connect and leave at once."""

    async def one() -> None:
        while time.monotonic() < end:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.transport.abort()
            except OSError:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(100)))


async def slow_readers(port: int, end: float) -> None:
    """200 connections that ask for /openapi.json 64 times and read nothing."""
    held = []
    for _ in range(200):
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.connect(("127.0.0.1", port))
        peer.setblocking(False)
        peer.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 64)
        held.append(peer)
    await _until(end)
    for peer in held:
        peer.close()


async def pipelining(port: int, end: float) -> None:
    """20 connections with 64 requests in one piece, again and again."""
    await _keep_sending(port, end, b"GET /v1/nowhere HTTP/1.1\r\nHost: a\r\n\r\n" * 64, 20)


async def parts(port: int, end: float) -> None:
    """8 clients with forms of 10,000 parts."""
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc\r\n'
    form = part * 10_000 + b"--b--\r\n"
    head = POST.replace(b"/predict", b"/predict/batch") % (b"multipart/form-data; boundary=b", len(form))
    await _keep_sending(port, end, head + form, 8)


async def json_keys(port: int, end: float) -> None:
    """4 clients with JSON of 1.5 million keys that nobody knows."""
    body = b"{" + b",".join(b'"%d":1' % number for number in range(1_000_000, 1_900_000)) + b"}"
    await _keep_sending(port, end, POST % (b"application/json", len(body)) + body, 4)


async def base64_json(port: int, end: float) -> None:
    """4 clients with 9 MB of base64 that is no image."""
    body = b'{"image":"' + b"A" * 9_000_000 + b'"}'
    await _keep_sending(port, end, POST % (b"application/json", len(body)) + body, 4)


async def punycode(port: int, end: float) -> None:
    """4 clients with a form in punycode whose text has 400 KB."""
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"a-" * 200_000 + b"\r\n--b--\r\n"
    head = POST % (b"multipart/form-data; boundary=b; charset=punycode", len(form))
    await _keep_sending(port, end, head + form, 4)


async def headers(port: int, end: float) -> None:
    """4 clients with one header of 50 MB."""
    await _keep_sending(port, end, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 50_000_000, 4)


async def held_uploads(port: int, end: float) -> None:
    """100 uploads of 9 MB that stop before the last byte."""
    writers = []
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST % (b"image/jpeg", 9_000_000))
            writer.write(b"a" * 8_999_999)
            writers.append(writer)
        except OSError:
            break
        await asyncio.sleep(0)
    await _until(end)
    for writer in writers:
        writer.transport.abort()


async def large_photos(port: int, end: float) -> None:
    """8 clients with pictures of 25 megapixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0" * (5001 * 5000), 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 5000, 5000, 8, 0, 0, 0, 0))
    png += chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    await _keep_sending(port, end, POST % (b"image/png", len(png)) + png, 8)


async def photos(port: int, end: float) -> None:
    """16 clients with photos of two faces."""
    photo = (SAMPLES / "two.jpg").read_bytes()
    await _keep_sending(port, end, POST % (b"image/jpeg", len(photo)) + photo, 16)


async def gone(port: int, end: float) -> None:
    """50 clients that post a photo and reset the connection."""
    photo = (SAMPLES / "two.jpg").read_bytes()

    async def one() -> None:
        while time.monotonic() < end:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(POST % (b"image/jpeg", len(photo)) + photo)
                await writer.drain()
                peer: Any = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            except OSError:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(50)))


CROWDS: tuple[Crowd, ...] = (
    nothing,
    idle,
    reconnecting,
    slow_readers,
    pipelining,
    parts,
    json_keys,
    base64_json,
    punycode,
    headers,
    held_uploads,
    large_photos,
    photos,
    gone,
)


def _watch(port: int, seconds: float, results: Any) -> None:
    """Milliseconds of each answer of /healthz."""
    took = []
    end = time.monotonic() + seconds
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < end:
        start = time.monotonic()
        client.request("GET", "/healthz")
        answer = client.getresponse()
        if (answer.read(), answer.status)[1] != 200:
            raise RuntimeError(answer.status)
        took.append((time.monotonic() - start) * 1000)
        time.sleep(max(0.0, 0.02 - (time.monotonic() - start)))
    results.put(took)


def _crowd(number: int, port: int, seconds: float) -> None:
    asyncio.run(CROWDS[number](port, time.monotonic() + seconds))


def measure(number: int, seconds: float) -> str:
    """A row of the table, of a gateway of its own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "models.config"
        config.write_text(CONFIG.format(root=ROOT), encoding="utf-8")
        server = ModelServer(f"--model_config_file={config}")
        gateway = GatewayProcess(folder / "gateway", model_server=server.address)
        try:
            crowd = context.Process(target=_crowd, args=(number, gateway.port, seconds + 2))
            results = context.SimpleQueue()
            watch = context.Process(target=_watch, args=(gateway.port, seconds, results))
            watch.start()
            crowd.start()
            # Before the queue is read: a few hundred numbers fit into its pipe, and a watch that failed puts none.
            watch.join(seconds + 120)
            took = results.get() if not results.empty() else [float("inf")]
            crowd.join(60)
            crowd.kill()
            status = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="utf-8")
            peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
            photo = (SAMPLES / "one.jpg").read_bytes()
            after = httpx.post(f"{gateway.url}/v1/predict", content=photo, timeout=60).status_code
        finally:
            gateway.close()
            server.stop()
    p50, p99 = np.percentile(took, (50, 99))
    what = (CROWDS[number].__doc__ or "").rstrip(".")
    return f"| {what} | {len(took)} | {p50:.1f} | {p99:.0f} | {max(took):.0f} | {peak:.0f} | {after} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", default="", help="crowds with this in their name")
    parser.add_argument("--out", type=Path, help="folder for the record, crowds-DATE.md")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    lines = [
        f"# /healthz beside crowds, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python -m benchmarks.crowds --seconds {options.seconds:g}` on {cores} cores, which the crowd shares.",
        "",
        "| crowd | asked | p50 ms | p99 ms | max ms | gateway's largest memory MB | a photo afterwards |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, crowd in enumerate(CROWDS):
        if options.only in getattr(crowd, "__name__", ""):
            lines.append(measure(number, options.seconds))
            print(lines[-1], flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"crowds-{datetime.now(UTC):%Y-%m-%d}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
