"""One stream: which frames are worked on, and exactly one reply to each, in their order."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from api.errors import Overloaded, RateLimited
from api.observe.metrics import Metrics
from api.stream.messages import Reply, dropped, problem

LATE_S = 0.2
"""A frame that is older before work on it begins is dropped."""
_TICK_S = 0.2
_UNREAD = 256
"""Replies that may wait for a client that reads none."""

NORMAL, GOING_AWAY, POLICY = 1000, 1001, 1008
"""Close codes (RFC 6455, section 7.4.1)."""

Close = tuple[int, str]


class FrameLate(Exception):  # noqa: N818 - says what a frame is
    """The frame has waited too long."""


@dataclass(slots=True)
class Frame:
    """An image of a stream."""

    seq: int
    content: bytes
    # By the monotonic clock.
    arrived: float = field(default_factory=monotonic)
    begun: bool = False

    @property
    def age_s(self) -> float:
        return monotonic() - self.arrived

    def begin(self) -> None:
        """Work on it begins; a thread calls it.

        Raises:
            FrameLate: too late.
        """
        if self.age_s > LATE_S:
            raise FrameLate
        self.begun = True


class Channel(Protocol):
    """Where messages come from and go to."""

    async def receive(self) -> str | bytes | None:
        """A text or a frame; None: the peer is gone. It can be cancelled without a loss."""
        ...

    async def send(self, reply: Reply) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    # Frames a second.
    rate: float
    # Seconds without a message.
    idle_s: float
    # Seconds that a stream may last.
    life_s: float


@dataclass
class Session:
    """Runs one stream.

    Args:
        answer: a frame's result; raises what is wrong.
        as_problem: an exception as an RFC 9457 document, counted and logged.
        admit: raises RateLimited where the caller's key has had its share.
        draining: whether the gateway has been told to stop.
    """

    channel: Channel
    answer: Callable[[Frame], Awaitable[Reply]]
    as_problem: Callable[[Exception], Reply]
    admit: Callable[[], Awaitable[None]]
    draining: Callable[[], bool]
    limits: Limits
    metrics: Metrics
    _seq: int = 0
    _waiting: Frame | None = None
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)
    # Replies whose turn has not come, and whose turn it is.
    _replies: dict[int, tuple[Frame, Reply]] = field(default_factory=dict)
    _next: int = 0
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    # When the next frame is within the rate (generic cell rate algorithm).
    _due: float = 0.0

    async def run(self, first: bytes | None) -> Close | None:
        """Until the peer is gone (None), or there is a reason to close.

        Args:
            first: a frame that has come already.
        """
        worker = asyncio.create_task(self._work())
        try:
            return await self._read(first, worker)
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await worker

    async def _read(self, first: bytes | None, worker: "asyncio.Task[None]") -> Close | None:
        begun = heard = monotonic()
        if first is not None:
            await self._take(first)
        while True:
            now = monotonic()
            if self.draining():
                return GOING_AWAY, "the gateway stops; connect again"
            if now - begun > self.limits.life_s:
                return NORMAL, f"a stream lasts {self.limits.life_s:g} s; connect again"
            if now - heard > self.limits.idle_s:
                return POLICY, f"no frame for {self.limits.idle_s:g} s"
            if len(self._replies) > _UNREAD:
                return POLICY, "replies are not read"
            if worker.done():
                # Its peer is gone, or it has failed, which the caller is to know.
                await worker
                return None
            try:
                async with asyncio.timeout(_TICK_S):
                    message = await self.channel.receive()
            except TimeoutError:
                continue
            if message is None:
                return None
            if isinstance(message, str):
                return POLICY, "only the first message may be text"
            heard = monotonic()
            await self._take(message)

    async def _take(self, content: bytes) -> None:
        frame = Frame(self._seq, content)
        self._seq += 1
        if not self._in_rate(frame.arrived):
            self._put(frame, dropped("rate"))
        else:
            try:
                await self.admit()
            except RateLimited:
                self._put(frame, dropped("rate"))
            else:
                if self._waiting is not None:
                    self._put(self._waiting, dropped("busy"))
                self._waiting = frame
        self._arrival.set()

    def _in_rate(self, now: float) -> bool:
        """A fifth of a second's frames may come at once: networks bunch them."""
        interval = 1 / self.limits.rate
        if self._due - now > max(interval, 0.2):
            return False
        self._due = max(self._due, now) + interval
        return True

    def _put(self, frame: Frame, reply: Reply) -> None:
        self._replies[frame.seq] = (frame, reply)

    async def _work(self) -> None:
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            frame, self._waiting = self._waiting, None
            if frame is not None:
                self._put(frame, await self._worked(frame))
                # Frames may have come meanwhile.
                self._arrival.set()
            await self._flush()

    async def _worked(self, frame: Frame) -> Reply:
        work = asyncio.ensure_future(self.answer(frame))
        try:
            await asyncio.wait({work}, timeout=max(0.0, LATE_S - frame.age_s))
            if not work.done() and not frame.begun:
                # It would be late by its turn. It leaves the queue to others.
                work.cancel()
                return dropped("late")
            return await work
        except FrameLate:
            return dropped("late")
        except Overloaded:
            return dropped("busy")
        except RateLimited:
            return dropped("rate")
        except Exception as error:
            return problem(self.as_problem(error))
        finally:
            work.cancel()

    async def _flush(self) -> None:
        """Send the replies whose turn it is."""
        async with self._sending:
            while self._next in self._replies:
                frame, reply = self._replies.pop(self._next)
                self._next += 1
                self.metrics.stream_frames.labels(reply.get("reason", reply["type"])).inc()
                if reply["type"] == "result":
                    self.metrics.stream_frame_seconds.observe(frame.age_s)
                await self.channel.send({"type": reply["type"], "seq": frame.seq, **reply})
