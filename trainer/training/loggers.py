"""What can be seen of a training: a bar or lines on the console, log.csv, and TensorBoard's scalars."""

import csv
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from trainer.files import replacing

TASK = TaskID(0)


class CsvLog:
    """One row per epoch; a resumed run drops the rows of epochs that it trains again.

    Args:
        path: the file.
        after: the last epoch whose row stays.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path = path
        self._rows: list[dict[str, str]] = []
        if after and path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                # A row cut short by a kill lacks its last fields.
                rows = [row for row in csv.DictReader(file) if None not in row.values()]
            self._rows = [row for row in rows if int(row["epoch"]) <= after]

    def add(self, row: Mapping[str, float]) -> None:
        """Write `row`; its keys are the columns, `epoch` among them."""
        self._rows.append({key: str(value) for key, value in row.items()})
        with replacing(self._path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerows(self._rows)


class TensorBoard:
    """Scalars per epoch in TensorBoard's event format, a few hundred bytes each, without importing TensorFlow.

    Args:
        directory: made when the first scalar is written.
        after: the last epoch that stays; TensorBoard hides later ones of an interrupted run.
    """

    def __init__(self, directory: Path, after: int) -> None:
        self._directory = directory
        self._after = after
        self._file: Path | None = None

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of an epoch, by tag."""
        events = []
        if self._file is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            # TensorBoard finds files by the "tfevents" in their names and reads them in alphabetical order.
            name = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
            self._file = self._directory / name
            start = SessionLog(status=SessionLog.START)
            events = [Event(file_version="brain.Event:2"), Event(step=self._after + 1, session_log=start)]
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        events.append(Event(step=epoch, summary=Summary(value=values)))
        with self._file.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                event.wall_time = time.time()
                writer.write(event.SerializeToString())


def training_bar(console: Console, total: int, done: int) -> Progress:
    """A progress bar with the time left on a terminal; nothing elsewhere, where lines must do. Its one task is `TASK`.

    Args:
        total: batches of the whole run.
        done: batches of it that an earlier process did.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
        refresh_per_second=2,
        # The time left is estimated from the last minutes: evaluation and the machine's other work come and go.
        speed_estimate_period=300,
        transient=True,
    )
    bar.add_task("starting", total=total, completed=done)
    return bar
