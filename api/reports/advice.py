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
    """The verdict, and the advice that goes with it. variants: tallies of all, the control's too."""
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
    better = [one for one in comparisons if one.significant and one.difference > 0]
    if better:
        best = max(better, key=lambda one: one.difference)
        return "variant better", f"Variant {best.variant!r} is better than control {control!r}{_by(best)}: promote it."
    worse = [one for one in comparisons if one.significant]
    if worse and len(worse) == others:
        names = " and ".join(repr(one.variant) for one in worse)
        return "control better", f"Control {control!r} is better than {names}{_by(worse[0])}: end the experiment."
    return "keep running", _keep_running(others, worse, comparisons, effect)


def _keep_running(others: int, worse: Sequence[Comparison], comparisons: Sequence[Comparison], effect: float) -> str:
    if not others:
        return "Keep running: there is only one variant, hence nothing to compare."
    if not comparisons:
        return "Keep running: the control and another variant need feedback before there is anything to compare."
    open_ones = [one for one in comparisons if not one.significant]
    lacking = max((one.needed.still for one in open_ones), default=0)
    losing = f"; {' and '.join(repr(one.variant) for one in worse)} may be ended already" if worse else ""
    if len(open_ones) < others - len(worse):
        return f"Keep running: not every variant has feedback yet{losing}."
    if lacking:
        return (
            f"Keep running: no difference is certain yet, and about {lacking:,} more faces with feedback are needed to "
            f"find one of {100 * effect:g} points{losing}."
        )
    return (
        f"Keep running only if less than {100 * effect:g} points matter: there is feedback enough to have found such a "
        f"difference, and none is certain{losing}."
    )


def _by(one: Comparison) -> str:
    interval = one.always_valid_interval
    if interval is None:
        return ""
    return (
        f" by {100 * abs(one.difference):.1f} points of accuracy ({_signed(interval.low)} to {_signed(interval.high)})"
    )


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _guardrails(one: Tally, control: Tally) -> Iterator[str]:
    """In what a variant differs from the control that is not accuracy, and may make its accuracy misleading.

    Subjects are compared, for requests and faces of one subject are alike.
    """
    if _differ((one.fell_back, one.activity.subjects), (control.fell_back, control.activity.subjects)):
        yield f"falls back in {_percent(one.fallbacks, one.requests)} of its requests"
    mine, theirs = (_feedback_rate(side) for side in (one, control))
    if _differ(mine, theirs):
        yield f"gets feedback from {_percent(*mine)} of its subjects, the control from {_percent(*theirs)}"


def _feedback_rate(one: Tally) -> tuple[int, int]:
    return one.accuracy.clusters if one.accuracy else 0, one.answered


def _differ(one: tuple[int, int], other: tuple[int, int]) -> bool:
    (count, n), (control_count, control_n) = one, other
    if not n or not control_n:
        return False
    return proportions.two_proportion_p(count / n, n, control_count / control_n, control_n) < GUARDRAIL_ALPHA


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %"
