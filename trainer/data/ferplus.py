"""FER+ (Barsoum et al. 2016, "Training deep networks for facial expression recognition with crowd-sourced label
distribution"): ten people's votes on each face of FER2013, in fer2013new.csv."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.contract import CLASSES
from trainer.data.csv_file import read_columns
from trainer.data.split import SPLITS
from trainer.errors import DataError

# FER+ has names and an order of its own.
_COLUMNS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}
_ELSEWHERE = ("contempt", "unknown", "NF")
"""Columns without a class here; NF is no face."""


def read_votes(path: Path, usages: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Read the votes on the rows of a Kaggle CSV.

    Args:
        path: fer2013new.csv, row for row beside the CSV.
        usages: [N], the split of each of the CSV's rows, as an index into `SPLITS`.
        name: the CSV's, for messages.

    Returns:
        float32 [N, 7], each class's share of a face's votes, in the order of `CLASSES`: a row sums to 1, or to less
        where votes went elsewhere (contempt, unknown, no face).

    Raises:
        DataError: the file is unreadable, lacks a column or has a vote that is not a whole number; it has another
            number of rows than the CSV (both are named); or a row's Usage is not that of the CSV's row.
    """
    columns = [*(_COLUMNS[name] for name in CLASSES), *_ELSEWHERE]
    votes: list[list[int]] = []
    for line, (usage, *row) in read_columns(path, ["Usage", *columns]):
        if len(votes) < len(usages) and usage != (due := SPLITS[usages[len(votes)]]):
            raise DataError(path, f"Usage is {usage!r} where face {len(votes) + 1} of {name} has {due!r}", line)
        votes.append([_parse(path, line, column, vote) for column, vote in zip(columns, row, strict=True)])
    if len(votes) != len(usages):
        raise DataError(
            path, f"has {len(votes)} rows of votes where {name} has {len(usages)} faces; they must go row by row"
        )
    counts = np.array(votes, np.float32)
    shares: NDArray[np.float32] = counts[:, : len(CLASSES)] / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _parse(path: Path, line: int, column: str, vote: str) -> int:
    # Ten people voted; the bound keeps some other column of numbers from passing for votes.
    if not (vote.isascii() and vote.isdigit() and len(vote) <= 3):
        raise DataError(path, f"{column} {vote[:20]!r} is not a number of votes", line)
    return int(vote)
