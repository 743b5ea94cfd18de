"""Mutated input through the real decoders, parsers and server: only documented answers, bounded time and memory.

    python -m benchmarks.fuzz [--executions 1000000] [--seed 1] [--only images,json] [--out benchmarks/records]

images       faces.decode.decode                  only faces.errors.ImageError
multipart    the parser of forms                  only errors below 500
json         images in JSON, and /feedback's      only errors below 500
queries      `/v1/predict?...` of the application a problem below 500, and one that OpenAPI names
heads        a gateway's socket                   an HTTP answer below 500 or a closed connection; then /healthz
experiments  experiments.yaml                     only ConfigFileError
csv          fer2013.csv                          only DataError
answers      what a model server answers          scores that add up to 1, or BadModelAnswer

Each target runs in a process of its own, with the last input on disk: a crash of a decoder in C is found, too. What
fails is written to .run/fuzz/ and named. Inputs are seeds of the repository with bytes flipped, cut, repeated, spliced
and replaced by tokens of the format. The same seed makes the same inputs.
"""

import argparse
import asyncio
import base64
import io
import itertools
import json
import logging
import multiprocessing
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image
from starlette.requests import Request

from api.app import create_app
from api.config_file.document import ConfigFileError
from api.errors import BadModelAnswer, ServiceError
from api.experiments.config import parse as parse_experiments
from api.http.forms import read_files
from api.http.json_body import read_document
from api.http.routes.feedback import FeedbackIn
from api.http.uploads import read_image
from api.model.client import ModelClient
from api.model.tensors import from_array
from api.settings import Settings
from faces.decode import decode
from faces.errors import ImageError
from trainer.data.fer2013 import read_fer2013
from trainer.errors import DataError
from wire import serving_pb2 as pb
from wire.target import Target

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "api" / "samples"
FAILED = ROOT / ".run" / "fuzz"

SHARES = {
    "images": 40,
    "multipart": 24,
    "json": 6,
    "queries": 6,
    "heads": 6,
    "experiments": 6,
    "csv": 6,
    "answers": 6,
}
"""Percent of all executions."""

PLAIN = "!$&'()*+,;=:@/?%-._~"
"""Besides letters and digits what a query has unescaped; the server's protocol answers 400 to anything else."""

SLOW_S = 5.0
"""No single small input may take so long; a stall of the machine does not, either."""

Run = Callable[[bytes], Awaitable[str]]
"""What became of an input, as a short name. Whatever it raises is a finding."""


@dataclass
class Record:
    executions: int
    seconds: float
    slowest_ms: float
    # Growth of the largest resident memory from a tenth of the way to the end.
    grown_mb: float
    outcomes: dict[str, int]
    findings: list[str]


def mutate(rng: random.Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One seed, changed in one to eight places."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 8))):
        # Heads of files are where their structure is.
        at = rng.randrange(min(len(data), 64) if rng.random() < 0.4 else len(data)) if data else 0
        some = rng.choice((1, 2, 4, 8, 64, 1024))
        match rng.randrange(9):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at] = rng.randrange(256)
            case 2:
                data[at : at + some] = rng.randbytes(some)
            case 3:
                del data[at : at + some]
            case 4:
                data[at:at] = data[at : at + some] * rng.choice((1, 2, 16))
            case 5:
                del data[at:]
            case 6:
                number = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
                data[at : at + 4] = struct.pack(rng.choice(("<I", ">I")), number)
            case 7 if tokens:
                data[at : at + rng.choice((0, 0, 4))] = rng.choice(tokens)
            case _:
                other = rng.choice(seeds)
                cut = rng.randrange(len(other) + 1)
                data[at:] = other[cut : cut + 4096]
    return bytes(data)


# The targets: seeds, tokens, and what runs one input.


@dataclass
class Fuzzed:
    seeds: list[bytes]
    tokens: list[bytes]
    run: Run


async def images(stack: AsyncExitStack) -> Fuzzed:
    grey = Image.open(SAMPLES / "face.jpg").convert("L").resize((40, 30))
    seeds = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"):
        for mode in ("L", "RGB", "P", "RGBA"):
            file = io.BytesIO()
            try:
                grey.convert(mode).save(file, kind)
            except OSError:
                # Not every format has every mode.
                continue
            seeds.append(file.getvalue())
    progressive, turned = io.BytesIO(), io.BytesIO()
    grey.save(progressive, "JPEG", progressive=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(turned, "JPEG", exif=exif)

    async def run(content: bytes) -> str:
        try:
            photo = decode(content, max_bytes=2**20, max_pixels=250_000)
        except ImageError as error:
            return type(error).__name__
        assert photo.dtype == np.uint8, photo.dtype
        assert photo.ndim == 2, photo.shape
        assert 0 < photo.size <= 250_000, photo.shape
        return "decoded"

    tokens = [b"\xff\xd8", b"\xff\xda", b"\xff\xc2", b"\xff\xe1\xff\xff", b"IHDR", b"IDAT", b"acTL", b"VP8X", b"ANMF"]
    tokens += [b"Exif\0\0II*\0", b"ftypavif", b"ispe", b"\x00;", b"!\xf9\x04", b"BM"]
    return Fuzzed([*seeds, progressive.getvalue(), turned.getvalue()], tokens, run)


def _request(content: bytes, content_type: str) -> Request:
    sent = iter(_pieces(content))

    async def receive() -> dict[str, Any]:
        body = next(sent, None)
        return {"type": "http.request", "body": body or b"", "more_body": body is not None}

    headers = [(b"content-type", content_type.encode("latin-1"))]
    return Request({"type": "http", "method": "POST", "headers": headers, "path": "/", "query_string": b""}, receive)


def _pieces(content: bytes) -> Iterator[bytes]:
    """As a network would split it: parsers keep state between pieces."""
    step = 1 + len(content) // 3
    for start in range(0, len(content), step):
        yield content[start : start + step]


async def _documented(call: Awaitable[object]) -> str:
    try:
        await call
    except ServiceError as error:
        if error.status >= 500:
            raise
        return f"{error.status} {error.slug}"
    return "read"


async def multipart(stack: AsyncExitStack) -> Fuzzed:
    face = (SAMPLES / "face.jpg").read_bytes()[:600]
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    starred = head.replace(b'filename="a.jpg"', b"filename*=UTF-8''%e2%82%ac.jpg")
    one, two = head + face + b"\r\n--b--\r\n", head + face + b"\r\n" + starred + face + b"\r\n--b--\r\n"
    text = b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nabc\r\n--b--\r\n'

    async def run(content: bytes) -> str:
        # The first line is Content-Type's own parameters.
        kind, _, body = content.partition(b"\n\n")
        request = _request(body, "multipart/form-data;" + kind.decode("latin-1"))
        return await _documented(read_files(request, field="files", limit=4))

    seeds = [b"boundary=b\n\n" + body for body in (one, two, text)]
    seeds.append(b'boundary="b"; charset=punycode\n\n' + one)
    tokens = [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r",
        b"\n\n",
        b'name="',
        b"filename*=",
        b"charset=",
        b'"',
        b"\\",
        b"boundary=",
    ]
    return Fuzzed(seeds, tokens, run)


class _HerePool:
    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


async def json_bodies(stack: AsyncExitStack) -> Fuzzed:
    encoded = base64.b64encode((SAMPLES / "face.jpg").read_bytes()[:300]).decode()
    image = json.dumps({"image": encoded}).encode()
    linked = json.dumps({"image": "data:image/jpeg;base64," + encoded}).encode()
    feedback = json.dumps(
        {"prediction_id": "0190b0f4-0000-7000-8000-000000000000", "face": 0, "emotion": "happy"}
    ).encode()

    async def run(content: bytes) -> str:
        if b"image" in content:
            return await _documented(read_image(_request(content, "application/json"), _HerePool()))  # type: ignore[arg-type]
        return await _documented(read_document(_request(content, "application/json"), FeedbackIn))

    tokens = [
        b'"',
        b"\\u0000",
        b"\\ud800",
        b"{",
        b"[",
        b"[" * 300,
        b"1e999",
        b"NaN",
        b"null",
        b"\xff\xfe",
        b",",
        b":-1",
    ]
    return Fuzzed([image, linked, feedback], tokens, run)


async def queries(stack: AsyncExitStack) -> Fuzzed:
    app = create_app(Settings(model_server="127.0.0.1:1", models=["random"], default_model="random"))
    documented = {int(status) for status in app.openapi()["paths"]["/v1/predict"]["post"]["responses"]}
    state = await stack.enter_async_context(app.router.lifespan_context(app))
    assert state is not None

    async def run(content: bytes) -> str:
        statuses = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
        scope |= {
            "path": "/v1/predict",
            "raw_path": b"/v1/predict",
            "root_path": "",
            "query_string": quote_from_bytes(content, safe=PLAIN).encode(),
        }
        scope |= {"headers": [(b"content-length", b"0")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
        scope |= {"state": dict(state)}
        await app(scope, receive, send)
        [status] = statuses
        assert status < 500, status
        assert status in documented, status
        return str(status)

    seeds = [
        b"model=random&version=3&max_faces=4&min_face=24&crop=none&align=off&detector=auto",
        b"label=stable&subject=" + quote_from_bytes("Zoë".encode()).encode(),
        b"variant=a&model=random&model=residual&lang=vi",
    ]
    tokens = [
        b"&",
        b"=",
        b"%",
        b"%00",
        b"%ff",
        b"+",
        b";",
        b"min_face=99999999999999999999",
        b"NaN",
        b"-1",
        b"%ed%a0%80",
    ]
    return Fuzzed(seeds, tokens, run)


async def heads(stack: AsyncExitStack) -> Fuzzed:
    port = stack.enter_context(_gateway())
    healthz = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    # One address has 28,000 ports, and a closed connection keeps its own for a minute.
    sources = itertools.cycle(f"127.0.0.{number}" for number in range(2, 34))

    def ask(content: bytes) -> str:
        address, source = ("127.0.0.1", port), (next(sources), 0)
        with socket.create_connection(address, timeout=SLOW_S, source_address=source) as peer:
            peer.sendall(content)
            peer.shutdown(socket.SHUT_WR)
            answer = b""
            while part := peer.recv(65536):
                answer += part
        if not answer:
            return "closed"
        version, status, _ = answer.split(b" ", 2)
        assert version == b"HTTP/1.1", answer[:100]
        # A model server that is not there is a 503, and no fault of the head.
        assert int(status) < 500 or int(status) in (501, 503), answer[:400]
        return status.decode()

    async def run(content: bytes) -> str:
        outcome = ask(content)
        if content[-1:] == b"\0":
            assert ask(healthz) == "200"
        return outcome

    post = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\nabcd"
    chunked = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    upgrade = b"GET /v1/stream HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Protocol: emotion.v1\r\n\r\n"
    tokens = [
        b"\r\n",
        b"\n",
        b"\0",
        b" ",
        b":",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/2.0",
    ]
    tokens += [b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"fffffffff\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    return Fuzzed([healthz, healthz * 3, post, chunked, upgrade], tokens, run)


@contextmanager
def _gateway() -> Iterator[int]:
    """A gateway of its own, without a model server; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {
        **os.environ,
        "EMOTION_HOST": "127.0.0.1",
        "EMOTION_PORT": str(port),
        "EMOTION_MODEL_SERVER": "127.0.0.1:1",
    }
    with tempfile.TemporaryDirectory() as folder:
        environment["EMOTION_DATABASE_URL"] = f"sqlite:///{folder}/outcomes.db"
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env=environment, stderr=log, stdout=log)
            try:
                deadline = time.monotonic() + 60
                while True:
                    try:
                        socket.create_connection(("127.0.0.1", port)).close()
                        break
                    except OSError:
                        if process.poll() is not None or time.monotonic() > deadline:
                            raise
                        time.sleep(0.1)
                yield port
                assert process.poll() is None, "the gateway ended"
            finally:
                process.terminate()
                process.wait(30)


async def experiments(stack: AsyncExitStack) -> Fuzzed:
    seed = b"""experiments:
  - name: faces
    salt: a1
    subject: {header: X-Subject-ID}
    variants:
      - {name: a, weight: 90, model: random, label: stable}
      - {name: b, weight: 10, model: random, version: 3}
"""

    async def run(content: bytes) -> str:
        try:
            parse_experiments(content, Path("experiments.yaml"), ["random", "residual"])
        except ConfigFileError:
            return "refused"
        return "read"

    tokens = [b"{", b"[", b"- ", b": ", b"&a ", b"*a", b"!!python/object:", b"0123", b"90:10", b"1e999", b".nan", b"\t"]
    tokens += [
        b"---\n",
        b"? ",
        b"<<: ",
        b"!!binary ",
        b"on",
        b"\xff",
        b"\xc2\x85",
        b"'",
        b'"',
        b"[" * 200,
        b"2026-11-27",
    ]
    return Fuzzed([seed, (ROOT / "k8s" / "base" / "experiments.yaml").read_bytes()], tokens, run)


async def csv(stack: AsyncExitStack) -> Fuzzed:
    pixels = " ".join(str(value % 256) for value in range(48 * 48))
    rows = "".join(f"{label},{pixels},{usage}\n" for label, usage in ((0, "Training"), (6, "PublicTest")))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))

    async def run(content: bytes) -> str:
        path = folder / "fer2013.csv"
        path.write_bytes(content)
        try:
            splits = read_fer2013(path)
        except DataError:
            return "refused"
        assert sum(len(split) for split in splits.values()) > 0
        return "read"

    tokens = [
        b",",
        b'"',
        b"\n",
        b"\r",
        b"\0",
        b"256",
        b"-1",
        b"Usage",
        b"PrivateTest",
        b"\xff",
        b"\xef\xbb\xbf",
        b"1e3",
        b" ",
    ]
    return Fuzzed([f"emotion,pixels,Usage\n{rows}".encode()], tokens, run)


class _Answering:
    """In place of the replicas: whatever bytes came."""

    def __init__(self) -> None:
        self.content = b""

    async def call(self, method: Any, request: Any, **_: Any) -> tuple[Any, str]:
        try:
            return pb.PredictResponse.FromString(self.content), "fuzzed"
        except DecodeError:
            # As gRPC does.
            return None, "fuzzed"


async def answers(stack: AsyncExitStack) -> Fuzzed:
    replicas = _Answering()
    client = ModelClient(
        replicas,  # type: ignore[arg-type]
        timeout_s=1,
        models=["random"],
        labels=["stable"],
        note_version=lambda *_: None,
    )
    scores = np.full((2, 7), 1 / 7, np.float32)
    answer = pb.PredictResponse(model_spec=Target("random", 3).spec(), outputs={"scores": from_array(scores)})
    names = pb.TensorProto(dtype=pb.DT_STRING, string_val=[b"abcdefg"[i % 7 : i % 7 + 1] for i in range(14)])
    names.tensor_shape.dim.add(size=2)
    names.tensor_shape.dim.add(size=7)
    answer.outputs["classes"].CopyFrom(names)
    answer.outputs["unclear_below"].CopyFrom(from_array(np.full(2, 0.6, np.float32)))
    faces = np.zeros((2, 48, 48, 1), np.float32)

    async def run(content: bytes) -> str:
        replicas.content = content
        try:
            found = await client.predict(Target("random", 3), faces)
        except BadModelAnswer:
            return "refused"
        assert found.probabilities.shape == (2, len(found.classes)), found
        assert np.isfinite(found.probabilities).all(), found
        assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-2), found
        return "scored"

    tokens = [
        b"scores",
        b"classes",
        struct.pack("<f", float("nan")),
        struct.pack("<f", 1e38),
        b"\x08\x01",
        b"\x0a\xff\xff\xff\xff\x0f",
    ]
    return Fuzzed([answer.SerializeToString(deterministic=True)], tokens, run)


TARGETS: dict[str, Callable[[AsyncExitStack], Awaitable[Fuzzed]]] = {
    "images": images,
    "multipart": multipart,
    "json": json_bodies,
    "queries": queries,
    "heads": heads,
    "experiments": experiments,
    "csv": csv,
    "answers": answers,
}


# The campaign.


async def campaign(name: str, executions: int, seed: int, last: Path) -> Record:
    rng = random.Random(f"{name} {seed}")
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    slowest, base = 0.0, 0.0
    async with AsyncExitStack() as stack:
        fuzzed = await TARGETS[name](stack)
        with last.open("wb", buffering=0) as file:
            start = time.perf_counter()
            for number in range(executions):
                content = mutate(rng, fuzzed.seeds, fuzzed.tokens)
                file.seek(0)
                file.truncate()
                file.write(content)
                begun = time.perf_counter()
                try:
                    outcomes[await fuzzed.run(content)] += 1
                except Exception as error:
                    outcomes["FAILED"] += 1
                    if len(findings) < 10:
                        findings.append(_keep(name, number, content, f"{type(error).__name__}: {error}"))
                took = time.perf_counter() - begun
                # What a body's reader left unread is closed by the loop's own tasks.
                await asyncio.sleep(0)
                slowest = max(slowest, took)
                if took > SLOW_S and len(findings) < 10:
                    findings.append(_keep(name, number, content, f"took {took:.1f} s"))
                if number == executions // 10:
                    base = _peak_mb()
            seconds = time.perf_counter() - start
    return Record(executions, seconds, slowest * 1000, _peak_mb() - base, dict(outcomes), findings)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _keep(name: str, number: int, content: bytes, why: str) -> str:
    FAILED.mkdir(parents=True, exist_ok=True)
    path = FAILED / f"{name}-{number}"
    path.write_bytes(content)
    return f"{path.relative_to(ROOT)}: {' '.join(why.split())[:300]}"


def _child(name: str, executions: int, seed: int, last: Path, results: Any) -> None:
    # What a gateway says about each refused request is not what is looked at here.
    logging.disable(logging.CRITICAL)
    results.put(asyncio.run(campaign(name, executions, seed, last)))


def run_campaign(name: str, executions: int, seed: int) -> Record:
    """One target, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        last = Path(folder, "input")
        results = context.SimpleQueue()
        process = context.Process(target=_child, args=(name, executions, seed, last, results))
        process.start()
        while process.is_alive() and results.empty():
            time.sleep(0.1)
        if not results.empty():
            record: Record = results.get()
            process.join()
            return record
        process.join()
        content = last.read_bytes() if last.exists() else b""
        found = _keep(name, -1, content, f"the process ended with {process.exitcode}")
        return Record(executions, 0.0, 0.0, 0.0, {}, [found])


def report(records: dict[str, Record], seed: int) -> str:
    """The campaign as Markdown."""
    total = sum(record.executions for record in records.values())
    lines = [
        f"# {total:,} executions, seed {seed}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python -m benchmarks.fuzz --executions {total} --seed {seed}`; Python {sys.version.split()[0]}.",
        "",
        "| target | executions | minutes | slowest ms | memory grown MB | findings | outcomes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        outcomes = ", ".join(
            f"{kind} {count:,}" for kind, count in sorted(record.outcomes.items(), key=lambda it: -it[1])
        )
        lines.append(
            f"| {name} | {record.executions:,} | {record.seconds / 60:.1f} | {record.slowest_ms:.0f} |"
            f" {record.grown_mb:.0f} | {len(record.findings)} | {outcomes} |"
        )
    for record in records.values():
        lines += [f"- {finding}" for finding in record.findings]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(SHARES), help="targets, with commas between them")
    parser.add_argument("--out", type=Path, help="folder for the record, fuzz-DATE.md")
    options = parser.parse_args()
    records = {}
    for name in options.only.split(","):
        records[name] = run_campaign(name, max(1, options.executions * SHARES[name] // 100), options.seed)
        print(name, json.dumps(asdict(records[name])), flush=True)
    text = report(records, options.seed)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"fuzz-{datetime.now(UTC):%Y-%m-%d}.md").write_text(text, encoding="utf-8")
    sys.exit(any(record.findings for record in records.values()))


if __name__ == "__main__":
    main()
