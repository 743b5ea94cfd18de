"""A bounded pool of threads for the work that would block the event loop: decoding and detection."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import cv2

from api.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")


class CpuPool:
    """Threads, because Pillow and OpenCV release the GIL; bounded, because a long queue only adds latency."""

    def __init__(self, workers: int, queue: int) -> None:
        # One thread per image: under load OpenCV's own threads would fight with our workers for the cores.
        cv2.setNumThreads(1)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="cpu")
        self._workers = workers
        self._limit = workers + queue
        self._pending: set[Future[Any]] = set()

    @property
    def busy(self) -> int:
        """Threads that have an item."""
        return min(len(self._pending), self._workers)

    @property
    def waiting(self) -> int:
        """Items that have no thread yet."""
        return max(0, len(self._pending) - self._workers)

    async def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | Exception]:
        """Run `work` on every item; what it raises stands in the place of its result.

        Cancelling takes the items that have not begun out of the queue.

        Raises:
            Overloaded: at once, when the items do not all fit in the queue.
        """
        if len(self._pending) + len(items) > self._limit:
            raise Overloaded(f"{len(self._pending)} images are waiting already; the limit is {self._limit}.")
        loop = asyncio.get_running_loop()
        # Each with a copy of the request's context, with its id and its trace.
        futures = [self._executor.submit(contextvars.copy_context().run, work, item) for item in items]
        self._pending.update(futures)
        for future in futures:
            # A cancelled request leaves its running threads behind: count them until they really end.
            # Callbacks run in the worker's thread; the set belongs to the loop's.
            future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._pending.discard, done))
        results: list[Result | Exception] = []
        for result in await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
            results.append(result)
        return results

    async def run(self, work: Callable[[Item], Result], item: Item) -> Result:
        """Run `work` on one item and return or raise what it did. Raises Overloaded as map() does."""
        [result] = await self.map(work, [item])
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Drop what waits and wait for what runs."""
        self._executor.shutdown(cancel_futures=True)
