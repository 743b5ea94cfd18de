"""A bounded pool of threads for the work that would block the event loop: decoding and detection.

What waits is bounded in seconds of work, not in images: a photo of 24 megapixels takes as long as twenty small ones.
Callers share the threads fairly by that measure (start-time fair queueing, Goyal, Vin & Cheng 1996): who sends much
waits behind who sends little.
"""

import asyncio
import contextvars
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from time import monotonic, perf_counter
from typing import Any, TypeVar

import cv2

from api.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

_HEAVY_S = 0.1
"""Work that takes this long leaves a thread to others, while there are any: it cannot be interrupted."""
_ACTIVE_S = 5.0
"""How long a caller counts as one of the others after its last image."""
_SMOOTHING = 0.05
_PACES = (0.2, 20.0)


@dataclass(eq=False, slots=True)
class _Job:
    run: Callable[[], Any]
    caller: str
    # All that is not goes first.
    behind: bool
    # Seconds by the estimate; 0: unknown.
    estimate: float
    # Where it stands in virtual time.
    start: float
    number: int
    result: "asyncio.Future[Any]"
    # By the monotonic clock; None while it waits.
    began: float | None = None


@dataclass
class CpuPool:
    """Threads, because Pillow and OpenCV release the GIL.

    Args:
        workers: threads.
        queue_s: seconds that an image may have to wait for a thread, by the estimates.
    """

    workers: int
    queue_s: float
    _waiting: list[_Job] = field(default_factory=list)
    _running: list[_Job] = field(default_factory=list)
    # Virtual time: where the job that began last stood. And where each caller's last job ends.
    _now: float = 0.0
    _ends: dict[str, float] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    # What an estimated second takes here and now.
    _pace: float = 1.0

    def __post_init__(self) -> None:
        # One thread per image: under load OpenCV's own threads would fight with our workers for the cores.
        cv2.setNumThreads(1)
        # What a photo lacks is told to who sent it; OpenCV prints it between the log's lines, too.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._executor = ThreadPoolExecutor(self.workers, thread_name_prefix="cpu")

    @property
    def busy(self) -> int:
        """Threads that have an item."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Items that have no thread yet."""
        return len(self._waiting)

    @property
    def waiting_s(self) -> float:
        """Seconds until a thread would be free for all that waits to be done."""
        return self._ahead_of(math.inf, True)

    async def map(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        costs: Sequence[float] | None = None,
        caller: str = "",
        behind: bool = False,
        later_s: float = 0.0,
    ) -> list[Result | Exception]:
        """Run `work` on every item; what it raises stands in the place of its result.

        Cancelling takes the items that have not begun out of the queue.

        Args:
            costs: seconds of each item on one thread, as estimated; None: next to nothing.
            caller: whose share of the threads it is.
            behind: let whatever is not behind go first.
            later_s: what the items will have to wait for behind the pool.

        Raises:
            Overloaded: at once, when the items would have to wait too long.
        """
        loop = asyncio.get_running_loop()
        costs = costs or [0.0] * len(items)
        self._note(caller, monotonic())
        start = max(self._now, self._ends.get(caller, 0.0))
        wait = self._ahead_of(start, behind) + later_s
        if items and wait > self.queue_s:
            raise Overloaded(
                f"The images that wait take {wait:.1f} s; the limit is {self.queue_s:g} s.",
                retry_after_s=max(1, math.ceil(wait - self.queue_s)),
            )
        jobs = []
        for item, cost in zip(items, costs, strict=True):
            # Each with a copy of the request's context, with its id and its trace.
            run = _bound(contextvars.copy_context(), work, item)
            jobs.append(_Job(run, caller, behind, cost, start, next(self._numbers), loop.create_future()))
            start += cost
        self._ends[caller] = start
        self._waiting += jobs
        self._fill(loop)
        try:
            if jobs:
                await asyncio.wait([job.result for job in jobs])
        except asyncio.CancelledError:
            self._waiting = [job for job in self._waiting if job not in jobs]
            for job in jobs:
                job.result.cancel()
            raise
        return [job.result.exception() or job.result.result() for job in jobs]  # type: ignore[misc]

    async def run(self, work: Callable[[Item], Result], item: Item, *, cost: float = 0.0, caller: str = "") -> Result:
        """Run `work` on one item and return or raise what it did. Raises Overloaded as map() does."""
        [result] = await self.map(work, [item], costs=[cost], caller=caller)
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Drop what waits and wait for what runs."""
        for job in self._waiting:
            job.result.cancel()
        self._waiting.clear()
        self._executor.shutdown(cancel_futures=True)

    def _ahead_of(self, start: float, behind: bool) -> float:
        """Seconds that a job at this virtual time, behind the others or not, has to wait for a thread."""
        if len(self._running) < self.workers:
            return 0.0
        now = monotonic()
        # What is overdue is expected to take as long again as it is late.
        left = sum(abs(job.estimate * self._pace - (now - (job.began or now))) for job in self._running)
        queued = sum(job.estimate for job in self._waiting if (job.behind, job.start) <= (behind, start)) * self._pace
        return (left + queued) / self.workers

    def _note(self, caller: str, now: float) -> None:
        self._seen[caller] = now
        if len(self._seen) > 1 and min(self._seen.values()) < now - _ACTIVE_S:
            self._seen = {name: at for name, at in self._seen.items() if at >= now - _ACTIVE_S}
        if len(self._ends) > len(self._seen):
            self._ends = {name: end for name, end in self._ends.items() if end > self._now or name in self._seen}

    def _fill(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and len(self._running) < self.workers:
            ready = [job for job in self._waiting if self._may_begin(job)]
            if not ready:
                return
            job = min(ready, key=lambda job: (job.behind, job.start, job.number))
            self._waiting.remove(job)
            self._running.append(job)
            self._now = max(self._now, job.start)
            job.began = monotonic()
            self._executor.submit(job.run).add_done_callback(_tell(loop, self._done, job))

    def _may_begin(self, job: _Job) -> bool:
        if job.estimate * self._pace < _HEAVY_S or len(self._seen) < 2:
            return True
        # The others': one thread at least stays free for them.
        same = sum(running.caller == job.caller for running in self._running)
        return same < max(1, self.workers - 1)

    def _done(self, job: _Job, finished: "Future[tuple[Any, float]]") -> None:
        self._running.remove(job)
        loop = job.result.get_loop()
        if not finished.cancelled():
            value, seconds = finished.result()
            if job.estimate:
                ratio = seconds / job.estimate
                self._pace += _SMOOTHING * (min(max(ratio, _PACES[0]), _PACES[1]) - self._pace)
            if not job.result.done():
                if isinstance(value, Exception):
                    job.result.set_exception(value)
                    # It is read by map(), unless that was cancelled meanwhile.
                    job.result.exception()
                else:
                    job.result.set_result(value)
        self._fill(loop)


def _bound(context: contextvars.Context, work: Callable[[Any], Any], item: Any) -> Callable[[], tuple[Any, float]]:
    def run() -> tuple[Any, float]:
        start = perf_counter()
        try:
            value = context.run(work, item)
        except Exception as error:
            value = error
        return value, perf_counter() - start

    return run


def _tell(
    loop: asyncio.AbstractEventLoop, done: Callable[[_Job, "Future[tuple[Any, float]]"], None], job: _Job
) -> Callable[["Future[tuple[Any, float]]"], None]:
    def tell(finished: "Future[tuple[Any, float]]") -> None:
        # Called in the worker's thread, or while the pool is closed; the queue belongs to the loop's.
        if not loop.is_closed():
            loop.call_soon_threadsafe(done, job, finished)

    return tell
