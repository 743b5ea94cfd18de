"""Four times what the service can do: what becomes of the photos that it takes on, and of those that it does not?

    python -m benchmarks.overload [--factor 4] [--seconds 10] [--out benchmarks/records]

Photos come by a Poisson process, whatever became of those before, and latency counts from when one was due. Unloaded is
the same at a tenth of the rate that eight connections get. Needs `wrk`. Goals: at least 90 % of that rate is answered,
and the 99th percentile of those is at most 0.5 s over the unloaded one.
"""

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", default="", help="photos with this in their name")
    parser.add_argument("--out", type=Path, help="folder for the record, overload-DATE.md")
    options = parser.parse_args()
    lines = [
        f"# {options.factor:g} times the capacity, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python -m benchmarks.overload --factor {options.factor:g} --seconds {options.seconds}`",
        f"on {pipeline.CORES} cores, which the client shares.",
        "",
        "| photo | capacity/s | unloaded p99 ms | offered/s | answered of capacity | p50 ms | p99 ms | refused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with pipeline.service() as (service, _):
        for photo in (each for each in pipeline.photos() if options.only in each.name):
            capacity = max(pipeline.closed(service, photo, 8, options.seconds)["per_s"] for _ in range(2))
            rates = (capacity / 10, capacity * options.factor)
            found = []
            for rate, seconds in zip(rates, (3 * options.seconds, options.seconds), strict=True):
                pipeline.settle(service, photo)
                found.append(asyncio.run(pipeline.opened(service, photo, rate, seconds)))
            unloaded, over = found
            answered = over["answered"] / options.seconds / capacity
            refused = over["refused"] / (over["refused"] + over["answered"])
            lines.append(
                f"| {photo.name} | {capacity:.1f} | {unloaded['p99_ms']:.0f} | {over['rate']:.1f} | {answered:.0%} |"
                f" {over['p50_ms']:.0f} | {over['p99_ms']:.0f} | {refused:.0%} |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"overload-{datetime.now(UTC):%Y-%m-%d}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
