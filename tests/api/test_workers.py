"""The pool of threads: what is taken, in which order, and what becomes of what nobody waits for."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from api.errors import Overloaded
from api.workers import CpuPool


class Work:
    """Items that wait until they are let through, and say in which order they began."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began: list[str] = []

    def __call__(self, item: str) -> str:
        self.began.append(item)
        assert self.open.wait(20)
        return item.upper()


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    work = Work()
    yield work
    work.open.set()


async def begun(work: Work, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(work.began) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_who_sends_little_does_not_wait_behind_who_sends_much(work: Work) -> None:
    with closing(CpuPool(1, queue_s=60)) as pool:
        much = asyncio.create_task(pool.map(work, ["a1", "a2", "a3", "a4"], costs=[1] * 4, caller="a"))
        await begun(work, 1)
        little = [asyncio.create_task(pool.map(work, [name], costs=[1], caller=name)) for name in ("b", "c")]
        await asyncio.sleep(0)
        work.open.set()
        await asyncio.gather(much, *little)
    # What runs is not interrupted; then each caller's first, and the second of who sent more comes after those.
    assert work.began[0] == "a1"
    assert set(work.began[1:4]) == {"a2", "b", "c"}
    assert work.began[4:] == ["a3", "a4"]


async def test_a_small_item_goes_before_the_large_ones_of_another_caller(work: Work) -> None:
    with closing(CpuPool(1, queue_s=60)) as pool:
        large = asyncio.create_task(pool.map(work, ["a1", "a2", "a3"], costs=[1, 1, 1], caller="a"))
        await begun(work, 1)
        small = asyncio.create_task(pool.map(work, ["b1", "b2", "b3"], costs=[0.1] * 3, caller="b"))
        await asyncio.sleep(0)
        work.open.set()
        await asyncio.gather(large, small)
    assert work.began.index("b3") < work.began.index("a2")


async def test_what_is_behind_waits_for_all_others(work: Work) -> None:
    with closing(CpuPool(1, queue_s=60)) as pool:
        first = asyncio.create_task(pool.map(work, ["a1"], costs=[1], caller="a"))
        await begun(work, 1)
        frame = asyncio.create_task(pool.map(work, ["frame"], costs=[0.1], caller="b", behind=True))
        await asyncio.sleep(0)
        photos = asyncio.create_task(pool.map(work, ["c1", "c2"], costs=[1, 1], caller="c"))
        await asyncio.sleep(0)
        work.open.set()
        await asyncio.gather(first, frame, photos)
    assert work.began == ["a1", "c1", "c2", "frame"]


async def test_heavy_items_leave_a_thread_to_others(work: Work) -> None:
    with closing(CpuPool(2, queue_s=60)) as pool:
        await pool.run(str, "seen", cost=0.001, caller="b")
        heavy = asyncio.create_task(pool.map(work, ["a1", "a2"], costs=[1, 1], caller="a"))
        await begun(work, 1)
        await asyncio.sleep(0.05)
        assert work.began == ["a1"]
        light = asyncio.create_task(pool.map(work, ["b"], costs=[0.02], caller="b"))
        await begun(work, 2)
        assert work.began == ["a1", "b"]
        work.open.set()
        await asyncio.gather(heavy, light)


async def test_a_lone_caller_has_all_threads(work: Work) -> None:
    with closing(CpuPool(2, queue_s=60)) as pool:
        both = asyncio.create_task(pool.map(work, ["a1", "a2"], costs=[1, 1], caller="a"))
        await begun(work, 2)
        work.open.set()
        assert await both == ["A1", "A2"]


async def test_what_would_wait_too_long_is_refused_and_told_when_to_come_back(work: Work) -> None:
    with closing(CpuPool(1, queue_s=2)) as pool:
        first = asyncio.create_task(pool.map(work, ["a"], costs=[1], caller="a"))
        second = asyncio.create_task(pool.map(work, ["b"], costs=[5], caller="a"))
        await begun(work, 1)
        with pytest.raises(Overloaded, match=r"take [56]\.\d s; the limit is 2 s") as refused:
            await pool.map(work, ["c"], costs=[0.1], caller="a")
        assert refused.value.headers == {"Retry-After": "4"}
        # Another caller does not stand behind all of that.
        other = asyncio.create_task(pool.map(work, ["d"], costs=[0.1], caller="d"))
        await asyncio.sleep(0)
        work.open.set()
        assert await other == ["D"]
        await asyncio.gather(first, second)


async def test_what_has_not_begun_is_dropped_when_nobody_waits_for_it(work: Work) -> None:
    with closing(CpuPool(1, queue_s=60)) as pool:
        gone = asyncio.create_task(pool.map(work, ["a1", "a2", "a3"], costs=[1] * 3, caller="a"))
        await begun(work, 1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (pool.busy, pool.waiting) == (1, 0)
        work.open.set()
        assert await pool.map(work, ["b"], caller="b") == ["B"]
    assert work.began == ["a1", "b"]


async def test_what_fails_stands_in_its_place(work: Work) -> None:
    with closing(CpuPool(2, queue_s=60)) as pool:
        found = await pool.map(int, ["1", "x", "3"])
        assert found[::2] == [1, 3]
        assert isinstance(found[1], ValueError)
        with pytest.raises(ValueError, match="invalid literal"):
            await pool.run(int, "y")


async def test_estimates_follow_what_the_work_really_takes() -> None:
    with closing(CpuPool(1, queue_s=60)) as pool:
        for _ in range(60):
            await pool.run(time.sleep, 0.004, cost=0.001)
        release = threading.Event()
        running = asyncio.create_task(pool.run(lambda _: release.wait(20), "", cost=1.0))
        await asyncio.sleep(0)
        # A second of the estimate is some four here.
        assert pool.waiting_s > 3
        release.set()
        await running
