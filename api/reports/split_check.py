"""Do the variants get what the weights give them, and does nothing get lost from one of them alone?"""

from collections.abc import Mapping

from api.outcomes.store import Split
from api.reports import always_valid
from api.reports.counts import Tally
from api.reports.schema import SplitCheck

SPLIT_ALPHA = 0.05

# The test of lost requests takes each for itself, but they come in bursts and from the same subjects: a level that is
# hard to reach, and a part of the requests below which a loss cannot move an accuracy by more than a tenth of a point.
LOST_ALPHA, LEAST_LOST = 0.001, 0.001


def check_split(split: Split, variants: Mapping[str, Tally], elsewhere: int) -> SplitCheck:
    """Hold the tallies of the variants against the split.

    Args:
        elsewhere: Requests of the experiment under other splits.
    """
    observed = {name: one.units for name, one in variants.items()}
    weights = [split.weights[name] for name in variants]
    assigned = {name: one.assigned for name, one in variants.items()}
    lost = {name: one.lost for name, one in variants.items()}
    shares_p = always_valid.split_p(list(observed.values()), weights)
    lost_p = always_valid.lost_p(list(lost.values()), list(assigned.values()))
    total = sum(observed.values()) / sum(weights)
    return SplitCheck(
        id=split.id,
        since=split.first_seen,
        elsewhere=elsewhere,
        observed=observed,
        expected={name: round(total * weight, 1) for name, weight in zip(variants, weights, strict=True)},
        always_valid_p=shares_p,
        assigned=assigned,
        lost=lost,
        lost_p=lost_p,
        broken=shares_p <= SPLIT_ALPHA or _loses(lost_p, _lost_shares(lost, assigned)),
    )


def complaint(found: SplitCheck) -> str:
    """What is wrong with a broken split, and what to do."""
    shares = _lost_shares(found.lost, found.assigned)
    if _loses(found.lost_p, shares):
        losses = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
        return (
            f"Broken split: requests do not get lost from the variants alike ({losses} of those assigned failed or are "
            "not stored); find out why and trust no comparison until then."
        )
    counts = ", ".join(
        f"{name} has {count:,} for {found.expected[name]:,.0f}" for name, count in found.observed.items()
    )
    return (
        f"Broken split: the variants did not get the share of subjects that their weights give them ({counts}); find "
        "out where they are lost and trust no comparison until then."
    )


def _loses(lost_p: float, shares: Mapping[str, float]) -> bool:
    return lost_p <= LOST_ALPHA and max(shares.values()) - min(shares.values()) >= LEAST_LOST


def _lost_shares(lost: Mapping[str, int], assigned: Mapping[str, int]) -> dict[str, float]:
    """Of the requests of each variant that was assigned any."""
    return {name: lost[name] / count for name, count in assigned.items() if count}
