"""Synthetic faces: every class is a blob at a place of its own, so that a small model learns them in a few steps."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from trainer.data import CLASSES, SIDE, Split

CENTERS = [(10, 10), (10, 24), (10, 38), (24, 10), (24, 38), (38, 10), (38, 38)]


def make_split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % len(CLASSES)).astype(np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for i, label in enumerate(labels):
        row, column = CENTERS[label]
        blob = 200 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)
        images[i] = np.clip(blob + rng.integers(0, 40, (SIDE, SIDE)), 0, 255)
    return Split(images, labels)


def csv_rows(split: Split, usage: str) -> str:
    return "".join(
        f"{label},{' '.join(map(str, image.ravel()))},{usage}\n"
        for image, label in zip(split.images, split.labels, strict=True)
    )


@pytest.fixture(scope="session")
def training() -> Split:
    return make_split(224, seed=1)


@pytest.fixture(scope="session")
def validation() -> Split:
    return make_split(70, seed=2)


@pytest.fixture(scope="session")
def fer_csv(tmp_path_factory: pytest.TempPathFactory, training: Split, validation: Split) -> Path:
    path = tmp_path_factory.mktemp("data") / "fer2013.csv.gz"
    text = "emotion,pixels,Usage\n" + csv_rows(training, "Training") + csv_rows(validation, "PublicTest")
    path.write_bytes(gzip.compress(text.encode()))
    return path
