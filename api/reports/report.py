"""Puts an experiment's report together and says in one sentence what to do."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil

from api.outcomes.store import OutcomeStore, Split
from api.reports import always_valid, proportions
from api.reports.advice import decide
from api.reports.counts import QUANTILES, Tallies, Tally, tally
from api.reports.proportions import Proportion
from api.reports.schema import (
    Accuracy,
    Answers,
    Comparison,
    Confusion,
    HistoryPoint,
    IntervalOut,
    Latency,
    Needed,
    Report,
    VariantReport,
)
from api.reports.split_check import check_split

ALPHA = 0.05

MAX_POINTS = 200
"""Of a history."""

NOTES = [
    "Accuracy counts faces with feedback. Those of one subject (without one: of one request) are correlated: all "
    "intervals and tests divide the faces by the design effect (Rao & Scott 1992).",
    "interval and p_value hold for one look that was planned. The verdict rests on always_valid_p, a mixture "
    "sequential probability ratio test (Johari, Pekelis & Walsh 2022), which holds at every look.",
    "A request that fell back counts for the variant that it was assigned to in the split check, and not in its "
    "accuracy or emotions, because the control's model gave the answer. Its latency counts, because it includes the "
    "wait for the variant. A variant that falls back where it would have been wrong looks better than it is: mind its "
    "fallback_rate.",
    "Forced requests count nowhere, nor do those that were assigned by other weights: each change of the weights, of "
    "the variants or of their targets starts a new comparison, with its own chance of a false alarm.",
    "The split is broken where its sequential multinomial test says so (Lindon & Malek 2022; at 5 %, over all looks), "
    "or where requests get lost from one variant more than from the others: those that failed, and predictions that "
    "are not stored.",
]


async def read_report(
    store: OutcomeStore, name: str, *, effect: float, power: float, present: str | None = None
) -> Report:
    """The report of one experiment, as the database is now.

    Args:
        effect, power: As of build_report().
        present: Id of the split that it is about; the one used last when it is None or unknown.

    Raises:
        UnknownExperiment: The database has none of that name.
        DATABASE_ERRORS: One of them, when the database cannot be read.
    """
    split = await store.split(name, present)
    return build_report(split, await tally(store.readers, split), effect=effect, power=power)


def build_report(split: Split, tallies: Tallies, *, effect: float, power: float, age_s: float = 0.0) -> Report:
    """What counts say.

    Args:
        effect: Difference of accuracy worth finding, in (0, 0.5].
        power: Chance to find it, in (0, 1).
        age_s: Seconds since they were read.
    """
    others = [variant for variant in tallies.variants if variant != split.control]
    variants = {variant: tallies.variants[variant] for variant in (split.control, *others)}
    alpha_each = ALPHA / max(1, len(others))
    control = variants[split.control].accuracy
    comparisons = [
        _compare(variant, accuracy, control, alpha_each, effect, power, _history(variants, variant, split, alpha_each))
        for variant in others
        if control is not None and (accuracy := variants[variant].accuracy) is not None
    ]
    check = check_split(split, variants, tallies.elsewhere)
    verdict, advice = decide(split.control, variants, check, comparisons, effect)
    return Report(
        experiment=split.experiment,
        generated_at=datetime.now(UTC) - timedelta(seconds=age_s),
        age_s=age_s,
        verdict=verdict,
        advice=advice,
        alpha=ALPHA,
        alpha_each=alpha_each,
        effect=effect,
        power=power,
        split=check,
        variants=[_describe(variant, one, split, tallies.classes) for variant, one in variants.items()],
        comparisons=comparisons,
        notes=NOTES,
    )


def _describe(name: str, one: Tally, split: Split, classes: Sequence[str]) -> VariantReport:
    accuracy = one.accuracy
    confusion = _confusion(one.confusion, classes)
    return VariantReport(
        name=name,
        control=name == split.control,
        share=split.weights.get(name, 0) / sum(split.weights.values()),
        requests=one.requests,
        lost=one.lost,
        fallback_rate=one.fallbacks / one.requests if one.requests else None,
        answered_by=[
            Answers(model=model, version=version, requests=count)
            for (model, version), count in sorted(one.answers.items())
        ],
        faces=one.faces,
        emotions={
            emotion: one.emotions.get(emotion, 0) / one.faces
            for emotion in (_order(classes, one.emotions) if one.faces else ())
        },
        latency_ms=Latency(**{f"p{100 * q:.0f}": round(one.latency_ms[q], 2) for q in QUANTILES})
        if one.latency_ms
        else None,
        feedback=accuracy.n if accuracy else 0,
        feedback_rate=(accuracy.clusters if accuracy else 0) / one.answered if one.answered else None,
        subjects=accuracy.clusters if accuracy else 0,
        design_effect=round(accuracy.design_effect, 3) if accuracy else None,
        accuracy=Accuracy(value=accuracy.rate, **proportions.wilson(accuracy.rate, accuracy.effective)._asdict())
        if accuracy
        else None,
        macro_f1=macro_f1(confusion.counts),
        confusion=confusion,
    )


def _confusion(pairs: Mapping[tuple[str, str], int], classes: Sequence[str]) -> Confusion:
    names = _order(classes, [name for pair in pairs for name in pair])
    return Confusion(classes=names, counts=[[pairs.get((truth, guess), 0) for guess in names] for truth in names])


def _order(classes: Sequence[str], found: Mapping[str, int] | Sequence[str]) -> list[str]:
    # A version that answered earlier may have known other classes.
    return [*classes, *sorted(set(found) - set(classes))]


def macro_f1(counts: Sequence[Sequence[int]]) -> float | None:
    """Mean F1 over the classes that are true or predicted anywhere; None without any face. counts[truth][predicted]."""
    scores = []
    for i, row in enumerate(counts):
        positives = sum(row) + sum(other[i] for other in counts)
        if positives:
            scores.append(2 * row[i] / positives)
    return sum(scores) / len(scores) if scores else None


def _compare(
    name: str,
    one: Proportion,
    control: Proportion,
    alpha_each: float,
    effect: float,
    power: float,
    history: list[HistoryPoint],
) -> Comparison:
    sides = (one.rate, one.effective, control.rate, control.effective)
    difference = one.rate - control.rate
    always, always_p = _at_every_look(one, control, alpha_each)
    return Comparison(
        variant=name,
        difference=difference,
        interval=IntervalOut(**proportions.newcombe(*sides)._asdict()),
        p_value=proportions.two_proportion_p(*sides),
        always_valid_interval=always,
        always_valid_p=always_p,
        significant=always_p is not None and always_p < alpha_each,
        needed=_needed(one, control, alpha_each, effect, power),
        history=history,
    )


def _at_every_look(one: Proportion, control: Proportion, alpha_each: float) -> tuple[IntervalOut | None, float | None]:
    """The always-valid interval of the difference and its p-value; None where there are too few faces."""
    if min(one.effective, control.effective) < always_valid.LEAST_EFFECTIVE:
        return None, None
    difference = one.rate - control.rate
    variance = always_valid.variance_of_difference(one, control)
    interval = always_valid.confidence_sequence(difference, variance, alpha_each)
    return IntervalOut(**interval._asdict()), always_valid.msprt_p(difference, variance)


def _history(variants: Mapping[str, Tally], name: str, split: Split, alpha_each: float) -> list[HistoryPoint]:
    """How the comparison stood, from the first face of both sides on; the last point is where it stands now."""
    sides = (variants[name].history, variants[split.control].history)
    moments = sorted({*sides[0], *sides[1]})
    stands: list[tuple[datetime, Proportion, Proportion]] = []
    one = control = None
    for moment in moments:
        one, control = sides[0].get(moment, one), sides[1].get(moment, control)
        if one is not None and control is not None:
            stands.append((moment, one, control))
    # Every so manieth, counted from the end.
    every = max(1, ceil(len(stands) / MAX_POINTS))
    return [_point(*stand, alpha_each) for stand in stands[::-every][::-1]]


def _point(moment: datetime, one: Proportion, control: Proportion, alpha_each: float) -> HistoryPoint:
    interval, p_value = _at_every_look(one, control, alpha_each)
    difference, faces = one.rate - control.rate, one.n + control.n
    return HistoryPoint(time=moment, faces=faces, difference=difference, interval=interval, p_value=p_value)


def _needed(one: Proportion, control: Proportion, alpha_each: float, effect: float, power: float) -> Needed:
    # Where the accuracy cannot rise so far, it can still fall.
    change = effect if control.rate + effect <= 1 else -effect
    ratio = control.effective / one.effective
    independent = always_valid.sample_size(control.rate, change, ratio=ratio, power=power, alpha=alpha_each)
    treated = ceil(independent * one.design_effect)
    controls = ceil(independent * ratio * control.design_effect)
    still = max(0, treated - one.n) + max(0, controls - control.n)
    return Needed(variant=treated, control=controls, still=still)
