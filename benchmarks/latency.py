"""Latency of a running service by stage: `make serve`, and in another shell `python benchmarks/latency.py`.

Sends each bundled photo one at a time, then from several clients at once, and prints medians as a Markdown table.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
STAGES = ("decode", "detect", "infer", "total")
CASES = {
    "one.jpg": ("one.jpg", {}),
    "two.jpg": ("two.jpg", {}),
    "two.jpg, min_face=48": ("two.jpg", {"min_face": "48"}),
    "face.jpg, crop=none": ("face.jpg", {"crop": "none"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    print("| photo | faces | decode ms | detect ms | infer ms | total ms | requests/s |")
    print("|---|---|---|---|---|---|---|")
    with httpx.Client(base_url=options.url, timeout=60) as client:

        def post(case: str) -> dict:
            name, query = CASES[case]
            headers = {"Content-Type": "image/jpeg"}
            response = client.post("/v1/predict", content=(SAMPLES / name).read_bytes(), params=query, headers=headers)
            return response.raise_for_status().json()

        for case in CASES:
            post(case)
            answers = [post(case) for _ in range(options.requests)]
            medians = [statistics.median(answer["timing_ms"][stage] for answer in answers) for stage in STAGES]
            start = time.perf_counter()
            with ThreadPoolExecutor(options.clients) as pool:
                list(pool.map(post, [case] * options.requests))
            rate = options.requests / (time.perf_counter() - start)
            cells = [f"`{case}`", str(len(answers[0]["faces"])), *(f"{value:.1f}" for value in medians), f"{rate:.0f}"]
            print("| " + " | ".join(cells) + " |")
    print(f"\nRequests/s with {options.clients} clients; the rest one at a time, medians of {options.requests}.")


if __name__ == "__main__":
    main()
