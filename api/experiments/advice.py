"""Says in one sentence what to do."""

from collections.abc import Sequence

from api.experiments.report_schema import Comparison, SplitCheck, Verdict
from api.experiments.split_check import complaint


def decide(
    control: str, others: int, split: SplitCheck, comparisons: Sequence[Comparison], effect: float
) -> tuple[Verdict, str]:
    """The verdict, and the advice that goes with it. others: how many variants there are besides the control."""
    verdict, advice = _judge(control, others, split, comparisons, effect)
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
