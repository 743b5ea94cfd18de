"""The traffic split: which variant a request is for, and who answers when that one cannot."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from api.deadline import within
from api.errors import (
    BadModelAnswer,
    DeadlineExceeded,
    InvalidParameter,
    ModelServerUnavailable,
    NotServed,
    VersionNotLoaded,
)
from api.experiments.assignment import BUCKETS, bucket_of
from api.experiments.breaker import Breakers
from api.experiments.config import Experiment, Variant
from api.experiments.metrics import ExperimentMetrics
from api.model_client import Target

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

FORCE_HEADER = "X-Variant"

# Failures of one version, label or model. ModelServerUnavailable may be one, for TF Serving also says so when the queue
# of one servable is full: only the control can tell.
_VARIANT_FAULTS = (NotServed, VersionNotLoaded, BadModelAnswer, DeadlineExceeded, ModelServerUnavailable)


@dataclass(frozen=True, slots=True)
class Assignment:
    """forced: the client named the variant; subject: as the client sent it."""

    experiment: Experiment
    variant: Variant
    forced: bool
    subject: str | None


def assign(experiment: Experiment, subject: str | None, forced: str | None) -> Assignment:
    """subject: who asks, None draws a bucket for this request alone; forced: the name of a variant to give instead.

    Raises InvalidParameter when there is no variant of that name.
    """
    if forced is not None:
        variant = experiment.find(forced)
        if variant is None:
            names = ", ".join(experiment.variant_names)
            raise InvalidParameter({FORCE_HEADER: f"experiment {experiment.name!r} has the variants {names}"})
        return Assignment(experiment, variant, True, subject)
    bucket = bucket_of(experiment.salt, subject) if subject is not None else secrets.randbelow(BUCKETS)
    return Assignment(experiment, experiment.owner(bucket), False, subject)


class Split:
    """Asks the assigned variant, and the control where that one fails. Breakers spare a failing one the asking."""

    def __init__(self, breakers: Breakers, metrics: ExperimentMetrics, *, fair_s: float) -> None:
        """fair_s: a variant that gets less time than this and does not answer in it is not to blame."""
        self.breakers = breakers
        self._metrics = metrics
        self._fair_s = fair_s

    async def answer(
        self, assignment: Assignment, score: Callable[[Target], Awaitable[Result]], deadline: float
    ) -> tuple[Result, Target, bool]:
        """What `score` returns, for which target, and whether the control answered for the variant.

        deadline: of the request, in the loop's time. A variant gets half of what is left until then, so that there is
        time to ask the control. Raises what `score` raises for the control.
        """
        experiment, variant = assignment.experiment, assignment.variant
        control = experiment.control_variant.target
        if variant.target == control:
            return await score(control), control, False
        breaker = self.breakers.of(variant.target)
        ticket = breaker.begin()
        if ticket is None:
            result = await score(control)
            self._metrics.count_fallback(experiment.name, variant.name, "circuit-open")
            return result, control, True
        half = max(0.0, deadline - asyncio.get_running_loop().time()) / 2
        try:
            async with within(half, DeadlineExceeded(f"The variant did not answer within {half:.3g} s.")):
                result = await score(variant.target)
        except _VARIANT_FAULTS as error:
            fault = error
        except BaseException:
            breaker.abandon(ticket)
            raise
        else:
            breaker.succeed(ticket)
            return result, variant.target, False
        logger.warning("variant %s of %s: %s", variant.name, experiment.name, fault.detail)
        if isinstance(fault, ModelServerUnavailable):
            try:
                result = await score(control)
            except BaseException:
                # Where the control fails, too, it may be the whole model server.
                breaker.abandon(ticket)
                raise
            breaker.fail(ticket)
        else:
            if isinstance(fault, DeadlineExceeded) and half < self._fair_s:
                breaker.abandon(ticket)
            else:
                breaker.fail(ticket)
            result = await score(control)
        self._metrics.count_fallback(experiment.name, variant.name, fault.slug)
        return result, control, True
