"""Says in one sentence what to do."""

from collections.abc import Iterator, Mapping, Sequence

from api.reports import proportions
from api.reports.counts import Tally
from api.reports.schema import Comparison, SplitCheck, Verdict
from api.reports.split_check import complaint

# Of a test of one look.
GUARDRAIL_ALPHA = 0.01


def decide(
    control: str, variants: Mapping[str, Tally], split: SplitCheck, comparisons: Sequence[Comparison], effect: float
) -> tuple[Verdict, str]:
    """The verdict, and the advice that goes with it.

    Args:
        variants: Tallies of all, the control's too.
    """
    verdict, advice = _judge(control, len(variants) - 1, split, comparisons, effect)
    if verdict != "broken split":
        objections = [
            f"{name!r} {' and '.join(clauses)}"
            for name, one in variants.items()
            if name != control and (clauses := list(_guardrails(one, variants[control])))
        ]
        if objections:
            advice = f"{advice.removesuffix('.')}, but {'; '.join(objections)}."
    if split.elsewhere:
        advice += f" The {split.elsewhere:,} earlier requests under other weights are left out."
    return verdict, advice


def _judge(
    control: str, others: int, split: SplitCheck, comparisons: Sequence[Comparison], effect: float
) -> tuple[Verdict, str]:
    if split.broken:
        return "broken split", complaint(split)
    certain = [one for one in comparisons if one.significant]
    best = max(certain, key=lambda one: one.difference, default=None)
    if best and best.difference > 0:
        return "variant better", f"Variant {best.variant!r} is better than control {control!r}{_by(best)}: promote it."
    if best and len(certain) == others:
        return (
            "control better",
            f"Control {control!r} is better than {_names(certain)}{_by(certain[0])}: end the experiment.",
        )
    return "keep running", f"Keep running{_why(others, certain, comparisons, effect)}."


def _why(others: int, worse: Sequence[Comparison], comparisons: Sequence[Comparison], effect: float) -> str:
    if not others:
        return ": there is only one variant, hence nothing to compare"
    if not comparisons:
        return ": the control and another variant need feedback before there is anything to compare"
    losing = f"; {_names(worse)} may be ended already" if worse else ""
    if len(comparisons) < others:
        return f": not every variant has feedback yet{losing}"
    points = f"{100 * effect:g} points"
    lacking = max(one.needed.still for one in comparisons if not one.significant)
    if lacking:
        return (
            f": no difference is certain yet, and about {lacking:,} more faces with feedback are needed to find one of "
            f"{points}{losing}"
        )
    return (
        f" only if less than {points} matter: there is feedback enough to have found such a difference, and none is "
        f"certain{losing}"
    )


def _names(comparisons: Sequence[Comparison]) -> str:
    return " and ".join(repr(one.variant) for one in comparisons)


def _by(one: Comparison) -> str:
    interval = one.always_valid_interval
    if interval is None:
        return ""
    low, high = 100 * interval.low, 100 * interval.high
    return f" by {100 * abs(one.difference):.1f} points of accuracy ({low:+.1f} to {high:+.1f})"


def _guardrails(one: Tally, control: Tally) -> Iterator[str]:
    """In what a variant differs from the control that is not accuracy, and may make its accuracy misleading.

    Units are compared, because requests and faces of one subject are alike.
    """
    if _differ((one.fell_back, one.units), (control.fell_back, control.units)):
        yield f"falls back in {_percent(one.fallbacks, one.requests)} of its requests"
    mine, theirs = ((side.accuracy.clusters if side.accuracy else 0, side.answered) for side in (one, control))
    if _differ(mine, theirs):
        yield f"gets feedback from {_percent(*mine)} of its subjects, the control from {_percent(*theirs)}"


def _differ(one: tuple[int, int], other: tuple[int, int]) -> bool:
    (count, n), (control_count, control_n) = one, other
    if not n or not control_n:
        return False
    return proportions.two_proportion_p(count / n, n, control_count / control_n, control_n) < GUARDRAIL_ALPHA


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %"
