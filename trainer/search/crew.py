"""Several workers of one study in one process: threads that wait for the trainings, which are processes."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

import optuna
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainer.errors import TrainerError, TrainingError
from trainer.search.study import Outcome, Plan, outcomes
from trainer.search.worker import Listen

_REFRESH_S = 0.5
_COUNT_S = 3.0
"""Between two looks at the study; a look reads what all its workers wrote."""


class Runnable(Protocol):
    def run(self) -> None: ...


def run_workers(
    make: Callable[[int, threading.Event, Listen], Runnable],
    count: int,
    study: optuna.Study,
    plan: Plan,
    console: Console,
) -> bool:
    """Run workers until the study has its trials; Ctrl-C or SIGTERM ends them early, a second one at once.

    On a terminal, a panel shows each worker's last news, the best trial and the time left; elsewhere news are lines.

    Args:
        make: makes the worker of that number; it is to end soon after the event is set, and to tell its news.
        count: how many.

    Returns:
        Whether the study has all its trials, as far as these workers know: they were not told to end.

    Raises:
        TrainerError: a worker failed; the others have ended in order.
    """
    stop = threading.Event()
    failures: list[BaseException] = []
    news = [""] * count
    shown = _Status(study, plan)

    def listen(number: int, line: str) -> None:
        news[number] = line
        if not console.is_terminal:
            console.print(f"worker {number}: {line}", highlight=False, soft_wrap=True, markup=False)

    def work(worker: Runnable) -> None:
        try:
            worker.run()
        except BaseException as error:
            failures.append(error)
            stop.set()

    # All are made before one starts: what is wrong with the study is said before anything trains.
    threads = [threading.Thread(target=work, args=(make(number, stop, listen),)) for number in range(count)]
    with _Signals(stop), Live(console=console, auto_refresh=False, transient=True) as live:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if console.is_terminal:
                live.update(shown.render(news), refresh=True)
            threads[0].join(_REFRESH_S) if threads[0].is_alive() else time.sleep(_REFRESH_S)
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


class _Status:
    """What the study has come to, looked up now and then."""

    def __init__(self, study: optuna.Study, plan: Plan) -> None:
        self._study = study
        self._plan = plan
        self._looked = -_COUNT_S
        self._began = time.monotonic()
        self._ended_before: int | None = None
        self._found: Sequence[Outcome] = ()

    def render(self, news: Sequence[str]) -> Group:
        """The panel, with one line of news for each worker."""
        if time.monotonic() - self._looked > _COUNT_S:
            self._found, self._looked = outcomes(self._study), time.monotonic()
        table = Table(box=None, show_header=False, pad_edge=False)
        for number, line in enumerate(news):
            table.add_row(Text(f"worker {number}", style="cyan"), Text(line))
        return Group(table, Text(self._summary(), style="bold"))

    def _summary(self) -> str:
        counts = Counter(outcome.state for outcome in self._found)
        ended = len(self._found) - counts["running"]
        if self._ended_before is None:
            self._ended_before = ended
        parts = [f"{ended} of {self._plan.trials} trials"]
        parts += [f"{counts[state]} {state}" for state in ("complete", "pruned", "failed") if counts[state]]
        if best := max((o for o in self._found if o.accuracy is not None), key=lambda o: o.accuracy or 0, default=None):
            parts.append(f"best {best.accuracy:.4f} (trial {best.number})")
        if since := ended - self._ended_before:
            left = (time.monotonic() - self._began) / since * max(0, self._plan.trials - ended)
            parts.append(f"{left / 60:.0f} min left")
        return ", ".join(parts)
