"""Model servers behind one target: which of them gets a call, and what happens when it does not answer.

gRPC's own means do not do, as docs/operating.md tells: a call has to run into its deadline before it counts as failed.
"""

import asyncio
import logging
import math
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from typing import Any, Generic, Literal, TypeVar

import grpc
from google.protobuf.message import Message

from api.circuit_breaker import CircuitBreaker
from api.errors import ModelServerUnavailable
from api.model.addresses import Addresses
from api.model.channel import OpenChannel
from api.model.patience import Durations, RetryBudget

logger = logging.getLogger(__name__)

Response = TypeVar("Response", bound=Message)
Kind = tuple[str, bytes]
"""Path of the method and what it asks for: one version may hang while the others answer."""
State = Literal["ready", "connecting", "left-alone"]
Reason = Literal["timeout", "unavailable"]

_LOOK_UP_S = 1.0
_ATTEMPTS = 4
_TIMEOUTS_IN_A_ROW, _LEFT_ALONE_S = 2, 3.0
_BACKOFF_S, _BACKOFF_MAX_S, _BACKOFF_FACTOR = 0.05, 0.5, 3
# Clients make versions up, of which no more are remembered.
_MAX_KINDS = 500
# As long as a call's deadline may be set.
_LONGEST_CALL_S = 300
# CANCELLED is what a server answers to calls that reach it while it stops.
_REPEATABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass(frozen=True, slots=True)
class Method(Generic[Response]):
    # /package.Service/Method: stubs that grpc generates would put our package's name there.
    path: str
    response: type[Response]


@dataclass(eq=False, slots=True)
class _Replica:
    address: str
    channel: grpc.aio.Channel
    outstanding: int = 0
    # Number of the call that it got last.
    turn: int = 0
    _breakers: dict[Kind, CircuitBreaker] = field(default_factory=dict)
    _calls: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        # Asking is also what makes it connect.
        return self.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    @property
    def state(self) -> State:
        # Half-open ones may be of what nobody asks for any more.
        if any(breaker.state == "open" for breaker in self._breakers.values()):
            return "left-alone"
        return "ready" if self.ready else "connecting"

    def breaker(self, kind: Kind) -> CircuitBreaker:
        found = self._breakers.get(kind)
        if found is None:
            if len(self._breakers) >= _MAX_KINDS:
                del self._breakers[next(iter(self._breakers))]
            found = self._breakers[kind] = CircuitBreaker(_TIMEOUTS_IN_A_ROW, _LEFT_ALONE_S)
        return found

    def call(self, method: Method[Response]) -> grpc.aio.UnaryUnaryMultiCallable[Any, Response]:
        if method.path not in self._calls:
            serialize = methodcaller("SerializeToString")
            self._calls[method.path] = self.channel.unary_unary(method.path, serialize, method.response.FromString)
        return self._calls[method.path]


class Replicas:
    """Calls go to the address with the fewest in work, of those that are connected.

    An attempt gets the time that calls of its kind usually take, thrice; then the call is repeated once, on another
    address. One that was late twice in a row is left alone for a while, and then tried by one call. What an address
    fails is repeated on others, too.
    """

    def __init__(self, addresses: Addresses, open_channel: OpenChannel, note_retry: Callable[[Reason], None]) -> None:
        """
        Args:
            note_retry: called for each attempt after the first, with what the one before failed of.
        """
        self._addresses = addresses
        self._open_channel = open_channel
        self._note_retry = note_retry
        self._replicas: dict[str, _Replica] = {}
        # By kind, and by size as a power of two.
        self._durations: dict[tuple[Kind, int], Durations] = defaultdict(Durations)
        self._budget = RetryBudget()
        self._turn = 0
        self._looked_up = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def count(self, state: State) -> int:
        """How many addresses are in that state."""
        return sum(replica.state == state for replica in self._replicas.values())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the target's addresses while the body runs; close their channels at the end."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            for closing in self._closing:
                closing.cancel()
            await asyncio.gather(*self._closing, return_exceptions=True)
            await asyncio.gather(*(replica.channel.close() for replica in self._replicas.values()))

    async def call(
        self,
        method: Method[Response],
        request: Message,
        *,
        about: bytes,
        size: int,
        timeout_s: float,
        metadata: tuple[tuple[str, str], ...],
    ) -> tuple[Response | None, str]:
        """The answer, None where it cannot be parsed, and the address that gave it.

        Args:
            about: what is asked for: a model and its version.
            size: how much of it; larger calls take longer.
            timeout_s: for all attempts.

        Raises:
            grpc.aio.AioRpcError: as the last attempt did.
            ModelServerUnavailable: no address is known, or none has answered of late.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        if not self._looked_up.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked_up.wait(), timeout_s)
        kind = (method.path, about)
        tried: Counter[_Replica] = Counter()
        timed_out = False
        for attempt in range(_ATTEMPTS):
            replica, ticket = self._choose(kind, tried)
            tried[replica] += 1
            left = deadline - clock()
            late_s = self._patience_s(kind, size) or left / 2
            # Only a call that could go elsewhere is ended before its deadline; its repetition gets all that is left.
            limit = min(left, late_s) if not timed_out and self._has_other(kind, tried) else left
            begun = clock()
            breaker = replica.breaker(kind)
            verdict: Callable[[int], None] = breaker.abandon
            replica.outstanding += 1
            try:
                answer = await replica.call(method)(request, timeout=limit, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                self._budget.fail()
                reason: Reason = "unavailable"
                pause = 0.0
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and clock() - begun >= 0.9 * limit:
                    verdict, reason = breaker.fail, "timeout"
                    if timed_out or limit == left:
                        raise
                    timed_out = True
                    logger.warning("model server: %s did not answer within %.3f s", replica.address, limit)
                elif error.code() not in _REPEATABLE:
                    verdict = breaker.succeed
                    raise
                elif not self._has_other(kind, tried):
                    pause = random.random() * min(_BACKOFF_MAX_S, _BACKOFF_S * _BACKOFF_FACTOR**attempt)  # noqa: S311  # nosec B311
                if attempt == _ATTEMPTS - 1 or clock() + pause >= deadline or not self._budget.left:
                    raise
            except asyncio.CancelledError:
                # Whoever asked has waited longer than an answer takes.
                if clock() - begun >= late_s:
                    verdict = breaker.fail
                raise
            else:
                verdict = breaker.succeed
                self._budget.succeed()
                self._durations[kind, size.bit_length()].add(clock() - begun)
                return answer, replica.address
            finally:
                replica.outstanding -= 1
                _judge(replica, breaker, partial(verdict, ticket))
            self._note_retry(reason)
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _choose(self, kind: Kind, tried: Counter[_Replica]) -> tuple[_Replica, int]:
        def rank(replica: _Replica) -> tuple[Any, ...]:
            # One that was left alone is tried again by a call that can still be repeated, before the others.
            on_trial = replica.breaker(kind).state != "closed"
            return not replica.ready, tried[replica], on_trial is bool(tried), replica.outstanding, replica.turn

        for replica in sorted(self._replicas.values(), key=rank):
            ticket = replica.breaker(kind).begin()
            if ticket is not None:
                self._turn += 1
                replica.turn = self._turn
                return replica, ticket
        if not self._replicas:
            raise ModelServerUnavailable("The model server's address is not known.")
        wait = min(replica.breaker(kind).opens_in_s for replica in self._replicas.values())
        raise ModelServerUnavailable("The model server has stopped answering.", retry_after_s=math.ceil(wait))

    def _has_other(self, kind: Kind, tried: Container[_Replica]) -> bool:
        return any(
            replica not in tried and replica.ready and replica.breaker(kind).state == "closed"
            for replica in self._replicas.values()
        )

    def _patience_s(self, kind: Kind, size: int) -> float | None:
        durations = self._durations.get((kind, size.bit_length()))
        return durations.patience_s if durations else None

    async def _follow(self) -> None:
        failed = False
        while True:
            try:
                self._update(await self._addresses.look_up())
                failed = False
            except OSError as error:
                # Those that were known are kept: that nobody can be asked says nothing about them.
                if not failed:
                    logger.warning("model server: its addresses cannot be looked up: %s", error)
                failed = True
            self._looked_up.set()
            if not self._addresses.change:
                return
            await asyncio.sleep(_LOOK_UP_S)

    def _update(self, found: tuple[str, ...]) -> None:
        for address in found:
            if address not in self._replicas:
                replica = self._replicas[address] = _Replica(address, self._open_channel(address))
                replica.channel.get_state(try_to_connect=True)
        for address in self._replicas.keys() - set(found):
            closing = asyncio.create_task(_close_when_idle(self._replicas.pop(address).channel))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


def _judge(replica: _Replica, breaker: CircuitBreaker, verdict: Callable[[], None]) -> None:
    before = breaker.state
    verdict()
    if breaker.state != before:
        news = "answers again" if breaker.state == "closed" else "is left alone for a while"
        logger.warning("model server: %s %s", replica.address, news)


async def _close_when_idle(channel: grpc.aio.Channel) -> None:
    """Calls in work are let finish."""
    try:
        await channel.close(grace=_LONGEST_CALL_S)
    except asyncio.CancelledError:
        await channel.close()
        raise
