"""Who answers when the variant that a request is for cannot."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from api.deadline import within
from api.errors import (
    BadModelAnswer,
    DeadlineExceeded,
    ModelServerUnavailable,
    NotServed,
    VersionNotLoaded,
)
from api.experiments.assignment import Assignment
from api.experiments.breaker import Breakers
from api.observe.metrics import ExperimentMetrics
from wire.target import Target

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Failures of one version, label or model. ModelServerUnavailable may be one, for TF Serving also says so when the queue
# of one servable is full: only the control can tell.
_VARIANT_FAULTS = (NotServed, VersionNotLoaded, BadModelAnswer, DeadlineExceeded, ModelServerUnavailable)


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
