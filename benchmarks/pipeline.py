"""How near is the service to what its own steps cost, and how does it compare to `fer`? One run, the same photos.

    EMOTION_YUNET_MODEL=... python -m benchmarks.pipeline [--seconds 5] [--out FOLDER]

bare     decoding, detection, alignment and the SavedModel of random/3, in a process for each core: no HTTP, no gRPC
service  what `make serve` starts, asked for the same version by wrk over HTTP
fer      PyPI's `fer` behind ten lines of FastAPI, in a virtual environment that this makes in .run/fer/

`wrk` (Debian's package of that name) keeps 1, 8 and 64 connections busy: the closed loop. In the open one photos come
by a Poisson process at half and at four fifths of the closed rate, and latency counts from when a photo was due.
Processor time and memory are the kernel's, of all processes of a system. A `refused` photo got 503 at once, because
the queue was full. Rates are of answered photos, and the best of all rounds: other work only ever slows one down.

Settings other than the detector, its side and the ports come from EMOTION_* as the gateway's do.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import queue
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from api.settings import Settings
from faces.align import Aligner
from faces.detect.choice import open_detectors
from faces.finder import FaceFinder, FaceOptions

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "api" / "samples"
MODEL, VERSION = "random", 3
QUERY = f"model={MODEL}&version={VERSION}"
CORES = len(os.sched_getaffinity(0))
CONNECTIONS = (1, 8, 64)
SHARES = (0.5, 0.8)
"""Of the closed rate, for the open loop."""
TICKS = os.sysconf("SC_CLK_TCK")
STAGES = ("decode", "detect", "infer")

FER = "fer==25.10.3"
# `fer` names packages for what is not used here (a second detector, videos), and OpenCV 5 has no Haar cascades.
FER_NEEDS = ("opencv-contrib-python-headless<5", "tensorflow", "pandas", "requests", "tqdm", "pillow", "setuptools<81")
FER_SERVICE = ("fastapi", "uvicorn", "httptools", "uvloop")
FER_INSTALL_S = 600
FER_APP = """
import cv2
import numpy as np
from fastapi import FastAPI, Request
from fer.fer import FER

app, detector = FastAPI(), FER()

@app.post("/predict")
async def predict(request: Request):
    image = cv2.imdecode(np.frombuffer(await request.body(), np.uint8), cv2.IMREAD_COLOR)
    faces = detector.detect_emotions(image)
    return {"faces": [{"box": list(map(int, f["box"])), "emotions": {k: float(v) for k, v in f["emotions"].items()}}
                      for f in faces]}
"""

WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "image/jpeg"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format('{"requests": %%d, "refused": %%d, "failed": %%d, "seconds": %%f, "p50_ms": %%f, "p99_ms": %%f}',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""  # noqa: E501

Result = dict[str, Any]


@dataclass(frozen=True)
class Photo:
    name: str
    jpeg: bytes
    faces: int
    crop: str = "detect"

    @property
    def query(self) -> str:
        return f"{QUERY}&crop={self.crop}"


def photos() -> list[Photo]:
    """Made of the bundled portraits alone."""
    portraits = Image.open(SAMPLES / "two.jpg")
    people = [portraits.crop((512 * index, 0, 512 * (index + 1), 600)) for index in (0, 1)]
    group, large = _ground(1200, 750), _ground(4000, 3000)
    for place in range(10):
        person = people[place % 2]
        if place // 2 % 2:
            person = ImageOps.mirror(person)
        width = (240, 228, 216)[place % 3]
        group.paste(person.resize((width, width * 600 // 512)), (place % 5 * 240, place // 5 * 375 + place % 4 * 20))
    large.paste(portraits.resize((3584, 2100)), (200, 500))
    return [
        Photo("two faces, 0.6 MP", (SAMPLES / "two.jpg").read_bytes(), 2),
        Photo("ten faces, 0.9 MP", _jpeg(group), 10),
        Photo("two faces, 12 MP", _jpeg(large), 2),
        Photo("no face, 0.6 MP", _jpeg(_ground(1024, 600)), 0),
        Photo("crop=none, 12 kP", (SAMPLES / "face.jpg").read_bytes(), 1, crop="none"),
    ]


def _ground(width: int, height: int) -> Image.Image:
    """Soft spots of colour, under a grain as a camera leaves."""
    chance = np.random.default_rng(0)
    spots = cv2.resize(chance.uniform(60, 200, (9, 16, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray((spots + chance.normal(0, 4, spots.shape)).clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


# The bare limit


class Bare:
    """What one process needs for a photo, one after the other on one thread."""

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        cv2.setNumThreads(1)
        settings = Settings()
        detectors = open_detectors(
            settings.detector,
            yunet=settings.yunet_model,
            sha256=settings.yunet_sha256,
            side=settings.detect_side,
            side_max=settings.detect_side_max,
        )
        self.finder = FaceFinder(
            detectors.by_name,
            Aligner(),
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
            side=settings.detect_side_max,
        )
        self.options = FaceOptions(settings.max_faces, settings.min_face, detectors.default, align=True, rotate=False)
        # Of what TensorFlow offers the cheapest call, and the one that both model servers use.
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
        with tf.Graph().as_default():
            self._session = tf.compat.v1.Session(config=config)
            export = str(ROOT / "model_repository" / MODEL / str(VERSION))
            meta = tf.compat.v1.saved_model.load(self._session, ["serve"], export)
        signature = meta.signature_def["serving_default"]
        self._input, self._output = signature.inputs["faces"].name, signature.outputs["scores"].name

    def predict(self, photo: Photo, *, align: bool = True) -> tuple[int, dict[str, float]]:
        """Number of faces; milliseconds by stage."""
        detector = self.options.detector if photo.crop == "detect" else None
        found = self.finder.find(self.finder.decode(photo.jpeg), replace(self.options, detector=detector, align=align))
        start = time.perf_counter()
        if len(found.tensor):
            self._session.run(self._output, {self._input: found.tensor})
        infer_ms = (time.perf_counter() - start) * 1000
        return len(found.faces), {"decode": found.decode_ms, "detect": found.detect_ms, "infer": infer_ms}


def _bare_worker(tasks: Any, together: Any, results: Any) -> None:
    bare = Bare()
    results.put(None)
    for photo, seconds, alone in iter(tasks.get, None):
        for _ in range(3):
            faces, _ = bare.predict(photo)
        if not alone:
            together.wait()
        times, start, cpu = [], time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            times.append(bare.predict(photo)[1])
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        unaligned = statistics.median(bare.predict(photo, align=False)[1]["detect"] for _ in range(10))
        stages = {stage: statistics.median(one[stage] for one in times) for stage in STAGES}
        results.put(
            {
                "faces": faces,
                "photos": len(times),
                "per_s": len(times) / took,
                "cpu_s": cpu,
                "p50_ms": statistics.median(sum(one.values()) for one in times),
                "stages_ms": stages | {"of which align": max(0.0, stages["detect"] - unaligned)},
            }
        )


@dataclass(frozen=True)
class Workers:
    """A process for each core, which wait while something else is measured."""

    tasks: list[Any]
    results: Any

    def run(self, photo: Photo, seconds: int) -> Result:
        """All at once, and then one of them alone."""
        found = self._run(photo, seconds, self.tasks)
        return found | {"alone": self._run(photo, seconds, self.tasks[:1])}

    def _run(self, photo: Photo, seconds: int, chosen: Sequence[Any]) -> Result:
        for tasks in chosen:
            tasks.put((photo, seconds, len(chosen) == 1))
        parts = [self.results.get(timeout=300) for _ in chosen]
        return {
            "faces": parts[0]["faces"],
            "per_s": sum(part["per_s"] for part in parts),
            "cpu_ms": 1000 * sum(part["cpu_s"] for part in parts) / sum(part["photos"] for part in parts),
            "p50_ms": parts[0]["p50_ms"],
            "stages_ms": parts[0]["stages_ms"],
        }


@contextmanager
def workers() -> Iterator[Workers]:
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(CORES), context.Queue()
    tasks = [context.Queue() for _ in range(CORES)]
    processes = [context.Process(target=_bare_worker, args=(one, together, results), daemon=True) for one in tasks]
    for process in processes:
        process.start()
    ready = 0
    while ready < len(processes):
        try:
            results.get(timeout=1)
            ready += 1
        except queue.Empty:
            if dead := [process for process in processes if not process.is_alive()]:
                raise SystemExit(f"a worker ended with exit status {dead[0].exitcode}") from None
    yield Workers(tasks, results)
    for one, process in zip(tasks, processes, strict=True):
        one.put(None)
        process.join()


# The services


@dataclass(frozen=True)
class Service:
    url: str
    pids: dict[str, int]
    """The processes that count, by what they are."""

    def cpu_s(self) -> dict[str, float]:
        return {name: _cpu_s(pid) for name, pid in self.pids.items()}

    def rss_mb(self) -> dict[str, float]:
        return {name: _rss_mb(pid) for name, pid in self.pids.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _children(pid: int) -> dict[str, int]:
    """By the module that they run: `python -m NAME`."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found[command[2] if command[1:2] == ["-m"] else Path(command[0]).name] = int(child)
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], url: str, limit_s: float, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process, once it answers at `url`; it is stopped at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + limit_s
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command}: {log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.01)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def service() -> Iterator[tuple[Service, Result]]:
    """Gateway and model server as `make serve` starts them, and how long a gateway takes to start."""
    http, grpc = _free_port(), _free_port()
    url = f"http://127.0.0.1:{http}"
    ports = {"EMOTION_PORT": str(http), "MODEL_SERVER_PORT": str(grpc)}
    with _running([sys.executable, "-m", "scripts.serve"], f"{url}/readyz", 180, **ports) as process:
        # scripts.serve tries it once.
        time.sleep(2)
        starts = [_start(grpc) for _ in range(3)]
        yield Service(url, _children(process.pid)), min(starts, key=lambda one: one["ready_s"])


def _start(grpc: int) -> Result:
    http, start = _free_port(), time.perf_counter()
    environment = {"EMOTION_PORT": str(http), "EMOTION_MODEL_SERVER": f"127.0.0.1:{grpc}"}
    with _running([sys.executable, "-m", "api"], f"http://127.0.0.1:{http}/readyz", 60, **environment) as process:
        ready_s = time.perf_counter() - start
        time.sleep(0.5)
        return {"ready_s": ready_s, "idle_rss_mb": _rss_mb(process.pid)}


def fer_python(folder: Path) -> Path:
    """Of a virtual environment with `fer`, made unless it is there. Raises RuntimeError with the reason."""
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        for packages in ([*pip, "--no-deps", FER], [*pip, *FER_NEEDS, *FER_SERVICE]):
            subprocess.run(packages, check=True, capture_output=True, timeout=FER_INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(error.stderr.decode(errors="replace").strip().rpartition("\n")[2]) from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not installed within {FER_INSTALL_S} s") from error
    return python


@contextmanager
def fer() -> Iterator[Service]:
    folder = ROOT / ".run" / "fer"
    python = fer_python(folder)
    (folder / "fer_app.py").write_text(FER_APP, encoding="utf-8")
    port = _free_port()
    command = [str(python), "-m", "uvicorn", "fer_app:app", "--app-dir", str(folder), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with _running([*command, "--no-access-log"], f"{url}/openapi.json", 120) as process:
        yield Service(url, {"fer": process.pid})


# Load


def closed(target: Service, photo: Photo, connections: int, seconds: int) -> Result:
    settle(target, photo)
    with tempfile.TemporaryDirectory() as name:
        body, script = Path(name, "photo.jpg"), Path(name, "post.lua")
        body.write_bytes(photo.jpeg)
        script.write_text(WRK % body, encoding="utf-8")
        before = target.cpu_s()
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script),
             f"{target.url}/predict?{photo.query}"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        after = target.cpu_s()
    told = json.loads(done.stderr)
    answered = told["requests"] - told["refused"]
    return {
        "per_s": answered / told["seconds"],
        **{key: told[key] for key in ("p50_ms", "p99_ms", "refused", "failed")},
        "cpu_ms": {name: 1000 * (after[name] - before[name]) / max(1, answered) for name in after},
    }


async def opened(target: Service, photo: Photo, rate: float, seconds: int) -> Result:
    """Photos come when they come, whatever became of those before: what a closed loop's latency hides."""
    host, _, port = target.url.removeprefix("http://").partition(":")
    head = f"POST /predict?{photo.query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\n"
    request = f"{head}Content-Length: {len(photo.jpeg)}\r\n\r\n".encode() + photo.jpeg
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    latencies_ms: list[float] = []
    refused = 0

    async def one(due: float) -> None:
        nonlocal refused
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        writer.write(request)
        headers = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        if b" 200 " in headers.partition(b"\r\n")[0]:
            latencies_ms.append((loop.time() - due) * 1000)
        else:
            refused += 1
        idle.append((reader, writer))

    loop, chance = asyncio.get_running_loop(), random.Random(0)
    due, end = loop.time(), loop.time() + seconds
    async with asyncio.TaskGroup() as tasks:
        while (due := due + chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.create_task(one(due))
    for _, writer in idle:
        writer.close()
    p50, p99 = np.percentile(latencies_ms, (50, 99)) if latencies_ms else (float("nan"),) * 2
    return {"rate": rate, "p50_ms": float(p50), "p99_ms": float(p99), "refused": refused, "answered": len(latencies_ms)}


def loaded(target: Service, photo: Photo, seconds: int) -> Result:
    answers = [_ask(target, photo) for _ in range(10)]
    result: Result = {"faces": len(answers[-1]["faces"])}
    if "timing_ms" in answers[-1]:
        stages = (*STAGES, "total")
        result["stages_ms"] = {s: statistics.median(one["timing_ms"][s] for one in answers) for s in stages}
    result["closed"] = {str(count): closed(target, photo, count, seconds) for count in CONNECTIONS}
    rate = _rate(result)
    result["open"] = {}
    for share in SHARES if rate else ():
        settle(target, photo)
        result["open"][f"{share:g}"] = asyncio.run(opened(target, photo, share * rate, seconds))
    result["rss_mb"] = target.rss_mb()
    return result


def settle(target: Service, photo: Photo) -> None:
    """Wait for what a run before has left in the queue: wrk does not wait for its last photos."""
    while True:
        try:
            _ask(target, photo)
        except urllib.error.HTTPError:
            # The queue is full.
            time.sleep(0.1)
        else:
            return


def _ask(target: Service, photo: Photo) -> Any:
    headers = {"Content-Type": "image/jpeg"}
    request = urllib.request.Request(f"{target.url}/predict?{photo.query}", photo.jpeg, headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


# What came of it


def measure(chosen: Sequence[Photo], seconds: int, rounds: int, *, with_fer: bool) -> Result:
    """Every system is up the whole time, and each photo goes to one after the other: what else runs disturbs all."""
    report: Result = {"cores": CORES, "photos": {photo.name: {} for photo in chosen}}
    with ExitStack() as stack:
        limit = stack.enter_context(workers())
        ours, report["start"] = stack.enter_context(service())
        report["detector"] = _detector(ours)
        services = {"service": ours}
        if with_fer:
            try:
                services["fer"] = stack.enter_context(fer())
            except RuntimeError as error:
                report["fer"] = f"left out: {error}"
        for _ in range(rounds):
            for photo in chosen:
                found = report["photos"][photo.name]
                _keep_better(found, "bare", limit.run(photo, seconds), lambda one: one["per_s"])
                for system, target in services.items():
                    # `fer` always looks for faces.
                    if system == "service" or photo.crop == "detect":
                        _keep_better(found, system, loaded(target, photo, seconds), _rate)
                _say(photo, found)
    return report


def _keep_better(found: Result, system: str, new: Result, rate: Callable[[Result], float]) -> None:
    if system not in found or rate(new) > rate(found[system]):
        found[system] = new


def _rate(loaded: Result) -> float:
    return float(loaded["closed"]["8"]["per_s"])


def _say(photo: Photo, found: Result) -> None:
    rates = ", ".join(f"{s} {_rate(one) if s != 'bare' else one['per_s']:.1f}/s" for s, one in found.items())
    print(f"{photo.name}: {rates}; load of the machine {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def _detector(ours: Service) -> str:
    with urllib.request.urlopen(f"{ours.url}/readyz", timeout=5) as response:
        return str(json.load(response)["detector"])


def tables(report: Result) -> Iterator[str]:
    yield f"{report['cores']} cores, {report['detector']} at {report['side']} pixels, {report['seconds']:g} s a figure"
    yield ""
    yield (
        "| photo | system | faces | photos/s at 1 / 8 / 64 | refused at 64 | ms at 1, p50 / p99 "
        "| open 50 %, p50 / p99 ms | open 80 % | CPU ms | of bare |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, systems in report["photos"].items():
        limit = systems["bare"]
        yield (
            f"| {name} | bare | {limit['faces']} | {limit['alone']['per_s']:.1f} / {limit['per_s']:.1f} / | "
            f"| {limit['alone']['p50_ms']:.1f} / | | | {limit['cpu_ms']:.1f} | |"
        )
        for system in ("service", "fer"):
            if system not in systems:
                continue
            one = systems[system]
            rates = " / ".join(f"{one['closed'][str(count)]['per_s']:.1f}" for count in CONNECTIONS)
            alone, eight = one["closed"]["1"], one["closed"]["8"]
            runs = one["open"].values()
            opened = " | ".join(f"{run['p50_ms']:.0f} / {run['p99_ms']:.0f}" for run in runs) or "|"
            cpu = " + ".join(f"{milliseconds:.1f}" for milliseconds in eight["cpu_ms"].values())
            yield (
                f"| {name} | {system} | {one['faces']} | {rates} | {one['closed']['64']['refused']} "
                f"| {alone['p50_ms']:.1f} / {alone['p99_ms']:.1f} | {opened} | {cpu} "
                f"| {eight['per_s'] / limit['per_s']:.2f} |"
            )
    yield ""
    yield "| photo, ms | system | decode | detect | of which align | infer | total |"
    yield "|---|---|---|---|---|---|---|"
    for name, systems in report["photos"].items():
        for system, stages in (
            ("bare", systems["bare"]["alone"]["stages_ms"]),
            ("service", systems["service"]["stages_ms"]),
        ):
            cells = (f"{stages[s]:.1f}" if s in stages else "" for s in ("decode", "detect", "of which align", "infer"))
            total = stages.get("total", sum(stages[stage] for stage in STAGES))
            yield f"| {name} | {system} | {' | '.join(cells)} | {total:.1f} |"
    yield ""
    start = report["start"]
    yield f"The gateway is ready after {start['ready_s']:.2f} s and has {start['idle_rss_mb']:.0f} MB then."


def draw(report: Result, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(report["photos"])
    systems = [system for system in ("bare", "service", "fer") if any(system in p for p in report["photos"].values())]
    figure, (rates, times) = pyplot.subplots(1, 2, figsize=(14, 5))
    for offset, system in enumerate(systems):
        for place, name in enumerate(names):
            found = report["photos"][name].get(system)
            if found is None:
                continue
            rate = found["per_s"] if system == "bare" else found["closed"]["8"]["per_s"]
            bar = rates.bar(place + 0.27 * offset, rate, 0.25, color=f"C{offset}", label="" if place else system)
            rates.bar_label(bar, fmt="%.0f")
    rates.set_xticks([place + 0.27 for place in range(len(names))], names, rotation=20, ha="right")
    rates.set_yscale("log")
    rates.set_title("photos a second, 8 connections")
    rates.legend()
    left = np.zeros(len(names))
    for stage in (*STAGES, "the rest"):
        values = []
        for name in names:
            one = report["photos"][name]["service"]
            known = one["stages_ms"]
            rest = one["closed"]["1"]["p50_ms"] - sum(known[s] for s in STAGES)
            values.append(max(0.0, rest if stage == "the rest" else known[stage]))
        times.barh(names, values, left=left, label=stage)
        left += values
    times.invert_yaxis()
    times.set_title("milliseconds of a request to the service, 1 connection")
    times.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many counts (default: %(default)s)")
    parser.add_argument("--detector", choices=("auto", "yunet", "mtcnn", "haar"), default="auto")
    parser.add_argument("--side", type=int, default=Settings().detect_side, help="(default: %(default)s)")
    parser.add_argument("--photos", nargs="*", default=[], metavar="WORD", help="those with such a word in their name")
    parser.add_argument("--without-fer", action="store_true")
    parser.add_argument("--out", type=Path, help="folder for pipeline.json and pipeline.png")
    options = parser.parse_args()
    # Read by every process that is measured.
    os.environ |= {"EMOTION_DETECTOR": options.detector, "EMOTION_DETECT_SIDE": str(options.side)}
    chosen = [p for p in photos() if not options.photos or any(word in p.name for word in options.photos)]
    report = measure(chosen, options.seconds, options.rounds, with_fer=not options.without_fer)
    report |= {"side": options.side, "seconds": options.seconds}
    print("\n".join(tables(report)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "pipeline.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        draw(report, options.out / "pipeline.png")


if __name__ == "__main__":
    main()
