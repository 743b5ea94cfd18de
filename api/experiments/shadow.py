"""Shadow targets: models that score the same faces after the answer has been sent, only to be compared with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry import context

from api.circuit_breaker import CircuitBreaker
from api.errors import BadModelAnswer, InternalError, ServiceError
from api.experiments.breaker import Breakers
from api.experiments.buckets import BUCKETS, bucket_of
from api.experiments.config import Experiment, Shadow
from api.model.client import ModelClient, Scores
from api.observe.metrics import Metrics
from api.observe.request_id import request_id
from api.observe.tracing import tracer
from wire.target import Target

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ShadowStats:
    """Counts since the gateway started."""

    # Answers that were compared.
    results: int = 0
    faces: int = 0
    agreeing: int = 0
    # Summed over the faces, in bits.
    divergence: float = 0.0
    dropped: int = 0
    errors: int = 0

    @property
    def agreement(self) -> float | None:
        """Part of the faces with the same likeliest emotion; None before the first one."""
        return self.agreeing / self.faces if self.faces else None

    @property
    def mean_divergence(self) -> float | None:
        """Bits per face; None before the first one."""
        return self.divergence / self.faces if self.faces else None


@dataclass(frozen=True, slots=True)
class _Job:
    experiment: str
    shadow: Shadow
    faces: NDArray[np.float32]
    answer: Scores
    request_id: str | None
    trace: context.Context

    @property
    def names(self) -> tuple[str, str]:
        """Values of the metrics' labels."""
        return (self.experiment, self.shadow.name)


class Shadows:
    """A queue bounded by the faces in it, and as many workers as there may be calls at a time."""

    def __init__(
        self,
        client: ModelClient,
        metrics: Metrics,
        breakers: Breakers,
        *,
        busy: Callable[[], bool],
        concurrency: int,
        queue_faces: int,
    ) -> None:
        """
        Args:
            client: on a channel of its own, so that a failing shadow uses up no retries of requests.
            breakers: of shadows alone, so that no variant is judged by them.
            busy: whether requests need the machine now.
            concurrency: calls at a time.
            queue_faces: that may wait.
        """
        self._client = client
        self._metrics = metrics
        self._breakers = breakers
        self._busy = busy
        self._concurrency = concurrency
        self._limit = queue_faces
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._waiting = 0
        self._stats: dict[tuple[str, str, Target], ShadowStats] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work for as long as the body runs; then drop what waits and cancel what runs."""
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)

    def submit(self, experiment: Experiment, prediction_id: str, faces: NDArray[np.float32], answer: Scores) -> None:
        """Queue the faces of an answer, float32 [N, 48, 48, 1], for the experiment's shadows, each as its share says.

        Never waits: what does not fit in the queue is dropped and counted.
        """
        for shadow in experiment.shadow:
            if bucket_of(f"{experiment.salt}:{shadow.name}", prediction_id) >= shadow.share * BUCKETS:
                continue
            if self._waiting + len(faces) > self._limit:
                self._count_dropped(experiment.name, shadow)
                continue
            self._waiting += len(faces)
            job = _Job(experiment.name, shadow, faces, answer, request_id.get(), context.get_current())
            self._queue.put_nowait(job)

    def stats(self, experiment: str, shadow: Shadow) -> ShadowStats:
        # By target, too: a name that was given to another model starts anew.
        return self._stats.setdefault((experiment, shadow.name, shadow.target), ShadowStats())

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            self._waiting -= len(job.faces)
            request_id.set(job.request_id)
            breaker = self._breakers[job.shadow.target]
            ticket = None if self._busy() else breaker.begin()
            if ticket is None:
                self._count_dropped(job.experiment, job.shadow)
            else:
                await self._ask(job, breaker, ticket)

    async def _ask(self, job: _Job, breaker: CircuitBreaker, ticket: int) -> None:
        closed = breaker.state == "closed"
        try:
            agreeing, divergence = await self._compare(job)
        except ServiceError as error:
            self._count_error(job, error.slug)
            breaker.fail(ticket)
            # Not every failure: a shadow that is down would fill the log.
            if closed and breaker.state != "closed":
                logger.warning("shadow %s of %s is left alone: %s", job.shadow.name, job.experiment, error.detail)
        except Exception:
            self._count_error(job, InternalError.slug)
            breaker.fail(ticket)
            logger.exception("shadow %s of %s", job.shadow.name, job.experiment)
        except BaseException:
            breaker.abandon(ticket)
            raise
        else:
            breaker.succeed(ticket)
            if not closed and breaker.state == "closed":
                logger.info("shadow %s of %s answers again", job.shadow.name, job.experiment)
            self._count(job, agreeing, divergence)

    async def _compare(self, job: _Job) -> tuple[int, float]:
        named = {"emotion.experiment": job.experiment, "emotion.shadow": job.shadow.name}
        with tracer.start_as_current_span("shadow", context=job.trace, attributes=named):
            scores = await self._client.predict(job.shadow.target, job.faces)
            try:
                return compare(job.answer, scores)
            except ValueError as error:
                raise BadModelAnswer(str(error)) from error

    def _count(self, job: _Job, agreeing: int, divergence: float) -> None:
        stats = self.stats(job.experiment, job.shadow)
        stats.results += 1
        stats.faces += len(job.faces)
        stats.agreeing += agreeing
        stats.divergence += divergence
        self._metrics.shadow_results.labels(*job.names).inc()
        self._metrics.shadow_faces.labels(*job.names).inc(len(job.faces))
        self._metrics.shadow_agreeing_faces.labels(*job.names).inc(agreeing)
        self._metrics.shadow_divergence_bits.labels(*job.names).inc(divergence)

    def _count_dropped(self, experiment: str, shadow: Shadow) -> None:
        self.stats(experiment, shadow).dropped += 1
        self._metrics.shadow_dropped.labels(experiment, shadow.name).inc()

    def _count_error(self, job: _Job, slug: str) -> None:
        self.stats(job.experiment, job.shadow).errors += 1
        self._metrics.shadow_errors.labels(*job.names, slug).inc()


def jensen_shannon(p: NDArray[np.float32], q: NDArray[np.float32]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence of each row, float64 [N], in bits: 0 for equal rows, 1 for disjoint ones.

    H((P + Q) / 2) - (H(P) + H(Q)) / 2 with H Shannon's entropy to base 2 (Lin, "Divergence measures based on the
    Shannon entropy", IEEE Transactions on Information Theory 37(1), 1991, equation 4.1 with both weights 1/2). It is
    symmetric and finite where a class has probability 0.

    Args:
        p: [N, C], rows adding up to 1.
        q: likewise.
    """
    first, second = p.astype(np.float64), q.astype(np.float64)
    divergence = _entropy((first + second) / 2) - (_entropy(first) + _entropy(second)) / 2
    # Rounding may carry it past its ends.
    clipped: NDArray[np.float64] = np.clip(divergence, 0, 1)
    return clipped


def compare(answer: Scores, other: Scores) -> tuple[int, float]:
    """Two answers for the same faces, which may list their classes in different orders.

    Returns:
        How many faces have the same likeliest class, and the divergence summed over the faces, in bits.

    Raises:
        ValueError: they are not over the same classes.
    """
    if sorted(answer.classes) != sorted(other.classes):
        raise ValueError(f"classes {', '.join(other.classes)} are not the classes {', '.join(answer.classes)}")
    place = np.array([answer.classes.index(name) for name in other.classes])
    agreeing = answer.likeliest == place[other.likeliest]
    divergence = jensen_shannon(answer.probabilities[:, place], other.probabilities)
    return int(agreeing.sum()), float(divergence.sum())


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # 0 * log 0 is 0, its limit.
    logarithms = np.log2(p, out=np.zeros_like(p), where=p > 0)
    entropy: NDArray[np.float64] = -(p * logarithms).sum(axis=1)
    return entropy
