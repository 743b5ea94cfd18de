"""`emotion predict` against wrk at the same connections: `make serve`, and elsewhere `python -m benchmarks.client`.

Both send the same photo, and alternate, so that both meet the same machine. The command's time is from its start to its
end: the interpreter, the search for files, the CSV. The last line is the ratio of the medians. Needs wrk.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
SCRIPT = """
local file = io.open("{photo}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
"""


def by_command(folder: Path, count: int, url: str, connections: int, crop: str) -> float:
    """Photos a second."""
    command = [sys.executable, "-c", "from emotion_client.cli.app import main; main()", "predict", str(folder)]
    options = ["--csv", str(folder.parent / "out.csv"), "--url", url, "--crop", crop, "--concurrency", str(connections)]
    start = time.perf_counter()
    subprocess.run([*command, *options], check=True)
    return count / (time.perf_counter() - start)


def by_wrk(script: Path, url: str, connections: int, crop: str, seconds: int) -> float:
    """Photos a second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run([*command, f"{url}/v1/predict?crop={crop}"], check=True, capture_output=True, text=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(done.stdout)
    [rate] = re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)
    return float(rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--photo", type=Path, default=SAMPLES / "two.jpg")
    parser.add_argument("--photos", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--crop", choices=["detect", "none"], default="detect")
    options = parser.parse_args()
    where = (options.url, options.connections, options.crop)
    with tempfile.TemporaryDirectory() as name:
        script, folder = Path(name) / "post.lua", Path(name) / "photos"
        script.write_text(SCRIPT.format(photo=options.photo.resolve()))
        folder.mkdir()
        for index in range(options.photos):
            shutil.copy(options.photo, folder / f"{index:05}{options.photo.suffix}")
        by_wrk(script, *where, 3)
        rates: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            command = by_command(folder, options.photos, *where)
            # As long as the command took.
            rates.append((command, by_wrk(script, *where, max(5, round(options.photos / command)))))
            print(f"emotion predict {rates[-1][0]:.1f}/s, wrk {rates[-1][1]:.1f}/s", flush=True)
    ours, theirs = (statistics.median(side) for side in zip(*rates, strict=True))
    print(f"ratio {ours / theirs:.3f}, {options.connections} connections, {options.photos} photos, crop={options.crop}")


if __name__ == "__main__":
    main()
