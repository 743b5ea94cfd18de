"""How many leaning heads are found, and how many of those are read right?

    python -m benchmarks.tilted --faces fer2013.npz [--angles 0 35 50] [--count 700] [--rotate]

FER2013's PublicTest faces, enlarged four times, stand on a grey ground, all of them turned by so many degrees to the
right. The detector looks, its surest find is cropped with and without being turned upright, and a SavedModel reads
both crops. `of all` counts faces that were not found as wrong. The model's own figure on the faces as they are stands
above the table.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from faces.align import Aligner
from faces.contract import to_input
from faces.decode import Grey
from faces.detect import SIDE_MAX, STANDARD_SIDE
from faces.detect.choice import NAMES, open_detectors
from faces.finder import FaceFinder, FaceOptions

ROOT = Path(__file__).resolve().parent.parent
SIDE, CANVAS, GREY = 192, 400, 128

Classify = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def picture(face: NDArray[np.uint8], angle: float) -> Grey:
    canvas = np.full((CANVAS, CANVAS), GREY, np.uint8)
    edge = (CANVAS - SIDE) // 2
    canvas[edge:-edge, edge:-edge] = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    centre = ((CANVAS - 1) / 2, (CANVAS - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, -angle, 1)
    return np.asarray(cv2.warpAffine(canvas, matrix, (CANVAS, CANVAS), borderValue=(GREY,)), np.uint8)


def open_model(path: Path) -> Classify:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]

    def classify(faces: NDArray[np.float32]) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = signature(faces=tf.constant(faces))["scores"].numpy().argmax(axis=1)
        return classes

    classify.model = model  # type: ignore[attr-defined]  # or TensorFlow frees its variables
    return classify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="FER2013 as arrays: pixels, emotion, usage")
    parser.add_argument("--angles", nargs="+", type=float, default=[0, 35, 50])
    parser.add_argument("--count", type=int, default=700, help="the first so many faces")
    parser.add_argument("--detectors", nargs="+", choices=NAMES, default=["yunet", "mtcnn"])
    parser.add_argument("--yunet", type=Path, default=os.environ.get("EMOTION_YUNET_MODEL"))
    parser.add_argument("--side", type=int, default=STANDARD_SIDE)
    parser.add_argument("--rotate", action="store_true", help="as `rotate=auto` does")
    parser.add_argument("--model", type=Path, default=ROOT / "model_repository" / "random" / "2")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with np.load(arguments.faces) as file:
        held_out = file["usage"] == "PublicTest"
        faces = file["pixels"][held_out][: arguments.count].reshape(-1, 48, 48)
        labels = file["emotion"][held_out][: arguments.count]
    classify = open_model(arguments.model)
    here = open_detectors("auto", yunet=arguments.yunet, sha256=None, side=arguments.side, side_max=SIDE_MAX)
    finder = FaceFinder(here.by_name, Aligner(), max_bytes=2**20, max_pixels=10**6, side=SIDE_MAX)
    console = Console()
    console.print(f"the faces as they are: {(classify(to_input(faces)) == labels).mean():.3f} of {len(labels)}")
    table = Table(
        "detector", "degrees", "found", "right of those", "right of all", "of those, not aligned", "ms", "roll"
    )
    for name in arguments.detectors:
        for angle in arguments.angles:
            crops: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
            found: list[int] = []
            rolls: list[float] = []
            ms = 0.0
            for index, face in enumerate(faces):
                decoded = finder.decode(cv2.imencode(".png", picture(face, angle))[1].tobytes())
                for align, kept in crops.items():
                    start = thread_time()
                    seen = finder.find(decoded, FaceOptions(50, None, name, align=align, rotate=arguments.rotate))
                    ms += (thread_time() - start) * 1000 if align else 0
                    if seen.faces:
                        best = max(range(len(seen.faces)), key=lambda one: seen.faces[one].score or 0)
                        kept.append(seen.tensor[best])
                        if align:
                            found.append(index)
                            rolls.append(seen.faces[best].roll or 0.0)
            right, plain = (
                (classify(np.stack(kept)) == labels[found]).sum() if found else 0 for kept in crops.values()
            )
            some = max(len(found), 1)
            table.add_row(
                name, f"{angle:g}", str(len(found)), f"{right / some:.3f}", f"{right / len(labels):.3f}",
                f"{plain / some:.3f}", f"{ms / len(labels):.1f}", f"{np.median(rolls or [np.nan]):.0f}",
            )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
