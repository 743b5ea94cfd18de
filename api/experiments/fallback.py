"""Who answers when the variant that a request is for cannot."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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
from api.observe.metrics import Metrics
from wire.target import Target

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Failures of one version, label or model. ModelServerUnavailable may be one, because TF Serving also says so when the
# queue of one servable is full: only the control can tell.
_VARIANT_FAULTS = (NotServed, VersionNotLoaded, BadModelAnswer, DeadlineExceeded, ModelServerUnavailable)


# A variant that is given less time than this, because the rest of the request took so long, is not to blame for it.
_FAIR_S = 1.0


@dataclass(frozen=True, slots=True)
class Fallback:
    """Asks the assigned variant, and the control where that one fails. Breakers spare a failing one the asking."""

    breakers: Breakers
    metrics: Metrics
    # Of one call to the model server.
    timeout_s: float

    async def answer(
        self, assignment: Assignment, score: Callable[[Target], Awaitable[Result]], deadline: float
    ) -> tuple[Result, Target, bool]:
        """What `score` returns, for which target, and whether the control answered for the variant.

        A variant gets half of the time that is left, so that there is time to ask the control. Raises what `score`
        raises for the control.

        Args:
            deadline: of the request, in the loop's time.
        """
        experiment, variant = assignment.experiment, assignment.variant
        control = experiment.control_variant.target
        is_control = variant.target == control
        breaker = self.breakers[variant.target]
        # A forced request is a tester's: it finds the circuit closed, and what comes of it opens none for the others.
        trial = assignment.forced and not is_control
        ticket = None if is_control or trial else breaker.begin()
        verdict, reason = breaker.abandon, "circuit-open"
        try:
            if ticket is not None or trial:
                half = max(0.0, deadline - asyncio.get_running_loop().time()) / 2
                try:
                    async with within(half, DeadlineExceeded, f"The variant did not answer within {half:.3g} s."):
                        result = await score(variant.target)
                    verdict = breaker.succeed
                    return result, variant.target, False
                except _VARIANT_FAULTS as fault:
                    logger.warning("variant %s of %s: %s", variant.name, experiment.name, fault.detail)
                    reason = fault.slug
                    hurried = isinstance(fault, DeadlineExceeded) and half < min(self.timeout_s, _FAIR_S)
                    if not hurried and not isinstance(fault, ModelServerUnavailable):
                        verdict = breaker.fail
            result = await score(control)
            if reason == ModelServerUnavailable.slug:
                # Had the control failed, too, it might have been the whole model server.
                verdict = breaker.fail
        finally:
            if ticket is not None:
                verdict(ticket)
        if not is_control:
            self.metrics.fallbacks.labels(experiment.name, variant.name, reason).inc()
        return result, control, not is_control
