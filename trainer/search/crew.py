"""Several workers of one study in one process: threads that wait for the trainings, which are processes."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from rich.console import Console

from trainer.errors import TrainerError, TrainingError
from trainer.search.worker import Listen

_SIGNALS_S = 0.5
"""Between two looks for signals, which Python handles in the main thread alone."""


class Runnable(Protocol):
    def run(self) -> None: ...


def run_workers(make: Callable[[int, threading.Event, Listen], Runnable], count: int, console: Console) -> bool:
    """Run workers until the study has its trials; Ctrl-C or SIGTERM ends them early, a second one at once.

    Args:
        make: makes the worker of that number; it is to end soon after the event is set, and to tell its news.
        count: how many.
        console: gets a line for each news.

    Returns:
        Whether the study has all its trials, as far as these workers know: they were not told to end.

    Raises:
        TrainerError: a worker failed; the others have ended in order.
    """
    stop = threading.Event()
    failures: list[BaseException] = []

    def listen(number: int, line: str) -> None:
        console.print(f"worker {number}: {line}", highlight=False, soft_wrap=True, markup=False)

    def work(worker: Runnable) -> None:
        try:
            worker.run()
        except BaseException as error:
            failures.append(error)
            stop.set()

    # All are made before one starts: what is wrong with the study is said before anything trains.
    threads = [threading.Thread(target=work, args=(make(number, stop, listen),)) for number in range(count)]
    with _Signals(stop):
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_SIGNALS_S)
    if failures:
        first = failures[0]
        if isinstance(first, TrainerError):
            raise first
        raise TrainingError(f"a worker failed: {type(first).__name__}: {first}") from first
    return not stop.is_set()


class _Signals:
    """Lets Ctrl-C and SIGTERM set an event instead of ending the process, once."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __enter__(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()
        self.__exit__()
