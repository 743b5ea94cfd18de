"""What a batch costs, for serving/batching.config: milliseconds of one processor per face, by batch size.

    python benchmarks/batching.py [--seconds 1]

Each cell is the median of calls to a SavedModel on one thread, in processor time, so that other work on the machine
hardly shows. `first` is the first call of a size that the model has not seen, less a later one of that size.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
MODELS = ("residual/2", "random/1", "ensemble/1")
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
UNSEEN = 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="to spend on each cell (default: %(default)s)")
    seconds = parser.parse_args().seconds
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print("| model |" + "".join(f" {size} |" for size in SIZES) + " first, ms |")
    print("|---|" + "---|" * (len(SIZES) + 1))
    for model in MODELS:
        loaded = tf.saved_model.load(str(REPOSITORY / model))
        costs = [median_ms(loaded, size, seconds) / size for size in SIZES]
        first = call_ms(loaded, UNSEEN) - median_ms(loaded, UNSEEN, seconds)
        print(f"| `{model}` |" + "".join(f" {cost:.2f} |" for cost in costs) + f" {first:.1f} |", flush=True)


def median_ms(loaded: tf.Module, size: int, seconds: float) -> float:
    call_ms(loaded, size)
    end = time.process_time() + seconds
    times = [call_ms(loaded, size)]
    while time.process_time() < end or len(times) < 3:
        times.append(call_ms(loaded, size))
    return statistics.median(times)


def call_ms(loaded: tf.Module, size: int) -> float:
    faces = tf.constant(np.random.default_rng(size).uniform(-1, 1, (size, 48, 48, 1)).astype(np.float32))
    start = time.process_time()
    loaded.signatures["serving_default"](faces=faces)["scores"].numpy()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
