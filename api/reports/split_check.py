"""Do the variants get what the weights give them, and does nothing get lost from one of them alone?"""

from collections.abc import Iterator, Mapping

from api.outcomes.store import Split
from api.reports import always_valid, proportions
from api.reports.counts import Tally
from api.reports.schema import SplitCheck

SPLIT_ALPHA = 0.05

# The test of lost requests takes each for itself, but they come in bursts and from the same subjects: a level that is
# hard to reach, and a part of the requests below which a loss cannot move an accuracy by more than a tenth of a point.
LOST_ALPHA, LEAST_LOST = 0.001, 0.001

# Tests of one look, which only warn.
_SHARES_WARNING, _ACTIVITY_WARNING = 0.01, 0.001


def check_split(split: Split, variants: Mapping[str, Tally], elsewhere: int) -> SplitCheck:
    """variants: their tallies; elsewhere: requests of the experiment under other splits."""
    observed = {name: one.activity.subjects for name, one in variants.items()}
    weights = [split.weights[name] for name in variants]
    total = sum(observed.values())
    found = SplitCheck(
        id=split.id,
        since=split.first_seen,
        elsewhere=elsewhere,
        observed=observed,
        expected={
            name: round(total * weight / sum(weights), 1) for name, weight in zip(variants, weights, strict=True)
        },
        always_valid_p=always_valid.split_p(list(observed.values()), weights),
        chi_square_p=always_valid.chi_square_p(list(observed.values()), weights),
        assigned={name: one.assigned for name, one in variants.items()},
        lost={name: one.lost for name, one in variants.items()},
        lost_p=always_valid.lost_p(
            [one.lost for one in variants.values()], [one.assigned for one in variants.values()]
        ),
        requests_per_subject={name: round(one.activity.mean, 3) for name, one in variants.items()},
        activity_p=proportions.activity_p([one.activity for one in variants.values()]),
        broken=False,
        warnings=[],
    )
    broken = found.always_valid_p <= SPLIT_ALPHA or _loses(found)
    return found.model_copy(update={"broken": broken, "warnings": list(_warnings(found))})


def complaint(found: SplitCheck) -> str:
    """What is wrong with a broken split, and what to do."""
    if _loses(found):
        losses = ", ".join(f"{name} {_lost_share(found, name):.2%}" for name in found.lost)
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


def _loses(found: SplitCheck) -> bool:
    shares = [_lost_share(found, name) for name in found.lost if found.assigned[name]]
    return found.lost_p <= LOST_ALPHA and max(shares) - min(shares) >= LEAST_LOST


def _lost_share(found: SplitCheck, name: str) -> float:
    return found.lost[name] / found.assigned[name] if found.assigned[name] else 0.0


def _warnings(found: SplitCheck) -> Iterator[str]:
    if found.chi_square_p is not None and found.chi_square_p < _SHARES_WARNING:
        yield (
            f"The shares of subjects would be unlikely at a single look (chi-square, p {found.chi_square_p:.2g}); over "
            "many looks that happens by chance, too."
        )
    if found.activity_p < _ACTIVITY_WARNING:
        means = ", ".join(f"{name} {mean:.2f}" for name, mean in found.requests_per_subject.items())
        yield (
            f"Subjects of the variants do not send equally many requests ({means} each; p {found.activity_p:.2g} at a "
            "single look): are some lost, or does a variant change how often people ask?"
        )
