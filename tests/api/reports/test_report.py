"""Reports on both kinds of database: what counts where, and what is advised."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from api.errors import UnknownExperiment
from api.outcomes.feedback import take_feedback
from api.outcomes.store import Split
from api.outcomes.tables import predictions
from api.outcomes.writer import OutcomeWriter
from api.reports import behind, proportions
from api.reports.report import macro_f1, read_report
from api.reports.schema import Report


async def report(
    outcomes: OutcomeWriter, name: str = "race", effect: float = 0.02, present: str | None = None
) -> Report:
    return await read_report(outcomes.store, name, effect=effect, power=0.8, present=present)


async def split(outcomes: OutcomeWriter, split_id: str = "present", **weights: float) -> None:
    """Stores a split of the experiment `race` with control a."""
    await outcomes.ready()
    await outcomes.store.add_splits([Split(split_id, "race", "a", weights, datetime.now(UTC))])


async def test_everything_counts_where_it_belongs(outcomes: OutcomeWriter, make: Callable) -> None:
    await split(outcomes, a=5000, b=5000)
    one = make("happy", "sad", latency_ms=10, subject="anna")
    batch = [
        one,
        make("happy", latency_ms=20, subject="anna"),
        make("fear", latency_ms=30, version=2),
        make(faces=(), classes=(), latency_ms=40),
        make("happy", variant="b", version=2, latency_ms=7),
        # Its latency is what assignment to b costs.
        fell_back := make("happy", variant="b", fallback=True, latency_ms=500),
        forced := make("happy", variant="b", version=2, forced=True, latency_ms=1000),
        outside := make("happy", experiment=None, variant=None, latency_ms=1000),
        make("happy", experiment="other", latency_ms=1000),
    ]
    await outcomes.store.add(batch)
    for prediction in (fell_back, forced, outside):
        await take_feedback(outcomes, prediction.id, 0, emotion="sad", correct=None)
    await take_feedback(outcomes, one.id, 0, emotion="happy", correct=None)
    await take_feedback(outcomes, one.id, 1, emotion="angry", correct=None)
    await take_feedback(outcomes, batch[2].id, 0, emotion=None, correct=True)

    found = await report(outcomes)
    a, b = found.variants
    assert (a.name, a.control, a.share, a.requests, a.fallback_rate, a.faces) == ("a", True, 0.5, 4, 0, 4)
    assert [(answer.version, answer.requests) for answer in a.answered_by] == [(1, 3), (2, 1)]
    assert a.emotions == {
        "angry": 0, "disgust": 0, "fear": 0.25, "happy": 0.5, "sad": 0.25, "surprise": 0, "neutral": 0
    }  # fmt: skip
    assert a.latency_ms.model_dump() == {"p50": 20, "p95": 40, "p99": 40}
    # anna's two faces, and one of a request without a subject.
    assert (a.feedback, a.subjects) == (3, 2)
    assert a.accuracy.value == pytest.approx(2 / 3, abs=1e-6)
    assert a.accuracy.low < 2 / 3 < a.accuracy.high
    assert a.confusion.counts[3][3] == a.confusion.counts[0][4] == 1
    assert sum(map(sum, a.confusion.counts)) == 2
    # happy 1, angry 0, sad 0.
    assert a.macro_f1 == pytest.approx(1 / 3, abs=1e-6)
    assert (b.requests, b.fallback_rate, b.faces, b.feedback, b.accuracy) == (2, 0.5, 1, 0, None)
    assert (b.latency_ms.p50, b.latency_ms.p99) == (7, 500)
    assert found.split.observed == {"a": 3, "b": 2}
    assert found.comparisons == []
    assert found.verdict == "keep running"
    assert "feedback" in found.advice


async def test_the_latency_is_that_of_the_nearest_rank(outcomes: OutcomeWriter, make: Callable) -> None:
    await split(outcomes, a=1, b=1)
    of_a, of_b = [float(number) for number in range(1, 21)], [5.0] * 99 + [7.0]
    await outcomes.store.add([make(variant="a", latency_ms=of) for of in of_a])
    await outcomes.store.add([make(variant="b", latency_ms=of) for of in of_b])
    found = await report(outcomes)
    assert [one.latency_ms.model_dump() for one in found.variants] == [
        {"p50": 10, "p95": 19, "p99": 20},
        {"p50": 5, "p95": 5, "p99": 5},
    ]


async def test_a_better_variant(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480)
    await fill(outcomes, "b", 800, 640)
    found = await report(outcomes)
    assert found.verdict == "variant better"
    assert "'b'" in found.advice
    assert "20.0 points" in found.advice
    [one] = found.comparisons
    assert one.difference == pytest.approx(0.2)
    assert one.always_valid_interval.low < one.interval.low < 0.2 < one.interval.high < one.always_valid_interval.high
    assert one.p_value < one.always_valid_p < 0.001
    assert found.variants[1].design_effect == 1
    wilson = proportions.wilson(0.8, 800)
    accuracy = found.variants[1].accuracy
    assert (accuracy.low, accuracy.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


async def test_guardrails_are_part_of_the_advice(outcomes: OutcomeWriter, fill: Callable, make: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480)
    await fill(outcomes, "b", 480, 432)
    await outcomes.store.add([make(variant="b", fallback=True) for _ in range(320)])
    found = await report(outcomes)
    assert found.verdict == "variant better"
    assert "40 %" in found.advice
    assert [one.feedback_rate for one in found.variants] == [1, 1]

    await outcomes.store.add([make(variant=variant) for variant in "ab" for _ in range(400)])
    found = await report(outcomes)
    assert [one.feedback_rate for one in found.variants] == pytest.approx([800 / 1200, 480 / 880], abs=1e-6)
    # The rates of fallback, of feedback, and of the control's feedback.
    assert all(f"{rate} %" in found.advice for rate in (26.7, 54.5, 66.7))


async def test_equal_guardrails_are_not_mentioned(outcomes: OutcomeWriter, fill: Callable, make: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 300, 200)
    await fill(outcomes, "b", 300, 210)
    # A single subject's fallbacks are one unit, however many they are.
    await outcomes.store.add([make(variant="b", fallback=True, subject="anna") for _ in range(50)])
    await outcomes.store.add([make(variant="a", subject="bert") for _ in range(50)])
    found = await report(outcomes)
    assert found.variants[1].fallback_rate == pytest.approx(1 / 7, abs=1e-6)
    assert "14.3 %" not in found.advice
    assert "falls back" not in found.advice


async def test_a_better_control(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 640)
    await fill(outcomes, "b", 800, 480)
    found = await report(outcomes)
    assert found.verdict == "control better"
    assert "20.0 points" in found.advice


async def test_many_faces_of_few_subjects_prove_nothing(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480, subjects=20)
    await fill(outcomes, "b", 800, 640, subjects=20)
    found = await report(outcomes)
    for one in found.variants:
        assert (one.feedback, one.subjects) == (800, 20)
        # A subject's 40 faces are all right or all wrong.
        assert one.design_effect == pytest.approx(40 * 20 / 19, abs=1e-3)
    assert found.comparisons[0].p_value > 0.1
    assert found.verdict == "keep running"


async def test_too_little_feedback_decides_nothing(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 90, 10)
    await fill(outcomes, "b", 90, 80)
    found = await report(outcomes)
    [one] = found.comparisons
    assert one.p_value < 1e-6
    assert (one.always_valid_p, one.always_valid_interval, one.significant) == (None, None, False)
    assert found.verdict == "keep running"


async def test_what_is_still_needed(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=9, b=1)
    await fill(outcomes, "a", 900, 585)
    await fill(outcomes, "b", 100, 65)
    found = await report(outcomes, effect=0.05)
    [one] = found.comparisons
    assert found.verdict == "keep running"
    assert one.needed.control == pytest.approx(9 * one.needed.variant, rel=0.01)
    assert one.needed.still == one.needed.variant - 100 + one.needed.control - 900
    assert f"{one.needed.still:,}" in found.advice
    assert "5 points" in found.advice
    found = await report(outcomes, effect=0.4)
    assert found.comparisons[0].needed.still < one.needed.still


async def test_a_broken_split_is_said_first(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480)
    await fill(outcomes, "b", 600, 540)
    found = await report(outcomes)
    assert found.split.broken
    assert found.split.always_valid_p < 0.01
    assert found.verdict == "broken split"
    assert "800" in found.advice
    assert "700" in found.advice
    assert found.comparisons[0].significant


async def test_a_ramp_during_a_trend_makes_no_difference(outcomes: OutcomeWriter, fill: Callable) -> None:
    # An A/A test: both are right in 50 % of the first week and in 80 % of the second, when b gets more of the traffic.
    await split(outcomes, "first", a=9000, b=1000)
    await fill(outcomes, "a", 1800, 900, split="first")
    await fill(outcomes, "b", 200, 100, split="first")
    await split(outcomes, a=5000, b=5000)
    await fill(outcomes, "a", 1000, 800)
    await fill(outcomes, "b", 1000, 800)
    found = await report(outcomes)
    assert (found.split.id, found.split.elsewhere) == ("present", 2000)
    assert [(one.requests, one.feedback, one.accuracy.value) for one in found.variants] == [(1000, 1000, 0.8)] * 2
    assert found.comparisons[0].difference == 0
    assert found.verdict == "keep running"
    assert "2,000" in found.advice


async def test_the_split_is_judged_by_subjects_of_its_own(outcomes: OutcomeWriter, make: Callable) -> None:
    await split(outcomes, "first", a=9000, b=1000)
    await split(outcomes, a=5000, b=5000)
    # A replica that has not read the new weights yet goes on with the old ones.
    late = datetime.now(UTC) + timedelta(seconds=5)
    old = [
        make(variant=v, split="first", created_at=late) for v, count in (("a", 900), ("b", 100)) for _ in range(count)
    ]
    await outcomes.store.add(old)
    # One subject that asks all the time is one subject.
    await outcomes.store.add(
        [make(variant="a", subject=f"a{index}") for index in range(50)]
        + [make(variant="b", subject=f"b{index}") for index in range(50)]
        + [make(variant="b", subject="b0") for _ in range(300)]
    )
    found = await report(outcomes, present="present")
    assert found.split.observed == found.split.expected == {"a": 50, "b": 50}
    assert not found.split.broken
    assert [one.requests for one in found.variants] == [50, 350]
    before = await report(outcomes, present="first")
    assert (before.split.observed, before.split.broken) == ({"a": 900, "b": 100}, False)


async def test_a_small_experiment_is_not_broken_by_chance(outcomes: OutcomeWriter, make: Callable) -> None:
    await split(outcomes, a=9900, b=100)
    # Two, where one tenth is expected.
    await outcomes.store.add([make(variant=variant) for variant in "aaaaaaaabb"])
    found = await report(outcomes)
    assert not found.split.broken


async def test_requests_that_get_lost_from_one_variant_break_the_split(
    open_store: Callable, make: Callable, race: Callable, until: Callable
) -> None:
    experiment = race(a=1, b=1)
    split = experiment.split_id
    async with open_store(outcome_flush_s=0.01) as one, open_store(outcome_flush_s=0.01) as other:
        one.register_split(experiment)
        for outcomes, good in ((one, 150), (other, 50)):
            for variant in "ab":
                for _ in range(good):
                    outcomes.count_assigned(experiment, variant)
                    outcomes.record(make(variant=variant, split=split))
        # The same number of failures on either side is nobody's fault; and 20 more are nothing that is sure.
        for variant, failures in (("a", 10), ("b", 14)):
            for _ in range(failures):
                one.count_assigned(experiment, variant)
        await until(lambda: not (one.unwritten or other.unwritten))
        found = await report(one)
        assert [(variant.requests, variant.lost) for variant in found.variants] == [(200, 10), (200, 14)]
        assert found.split.assigned == {"a": 210, "b": 214}
        assert not found.split.broken
        # A gateway that stops counting and one that starts anew add up.
        async with open_store(outcome_flush_s=60) as third:
            for _ in range(60):
                third.count_assigned(experiment, "b")
            # Asked for by name, or waiting: not lost.
            third.record(make(variant="a", forced=True, split=split))
        found = await report(one)
    assert found.split.lost == {"a": 10, "b": 74}
    assert found.split.observed == {"a": 200, "b": 200}
    assert found.split.lost_p < 0.001
    assert (found.verdict, found.split.broken) == ("broken split", True)
    assert all(f"{rate}%" in found.advice for rate in (4.76, 27.01))


async def test_more_variants_share_the_alpha(outcomes: OutcomeWriter, fill: Callable) -> None:
    await split(outcomes, a=1, b=1, c=0, d=1)
    await fill(outcomes, "d", 300, 100)
    await fill(outcomes, "a", 300, 200)
    await fill(outcomes, "b", 300, 210)
    found = await report(outcomes)
    assert [one.name for one in found.variants] == ["a", "b", "c", "d"]
    assert found.alpha_each == pytest.approx(0.05 / 3)
    assert [one.variant for one in found.comparisons] == ["b", "d"]
    # Nobody is to get c.
    assert not found.split.broken
    assert found.comparisons[1].significant
    assert "'d'" in found.advice


async def test_an_unknown_name(outcomes: OutcomeWriter) -> None:
    await split(outcomes, a=1, b=1)
    with pytest.raises(UnknownExperiment) as caught:
        await report(outcomes, "rave")
    assert caught.value.members["available"] == ["race"]


def test_macro_f1_of_known_cases() -> None:
    assert macro_f1([]) is None
    assert macro_f1([[0, 0], [0, 0]]) is None
    assert macro_f1([[5, 0, 0], [0, 7, 0], [0, 0, 0]]) == 1
    assert macro_f1([[2, 1], [0, 3]]) == pytest.approx((4 / 5 + 6 / 7) / 2)


async def test_over_http(client: Any, fill: Callable) -> None:
    # Nobody has asked for anything yet.
    empty = (await client.get("/experiments/race/report")).json()
    assert empty["verdict"] == "keep running"
    assert [one["accuracy"] for one in empty["variants"]] == [None, None]
    await fill(client.outcomes, "a", 800, 480, split=client.split)
    await fill(client.outcomes, "b", 800, 640, split=client.split)

    response = await client.get("/experiments/race/report?effect=0.03&power=0.9&fresh=true")
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["verdict"], body["effect"], body["power"]) == ("variant better", 0.03, 0.9)

    unknown = await client.get("/experiments/rave/report")
    assert unknown.status_code == 404
    assert unknown.json()["type"].endswith(":unknown-experiment")
    assert unknown.json()["available"] == ["race"]
    for query, field in (("effect=0", "effect"), ("power=1", "power"), ("format=html", "format")):
        wrong = await client.get(f"/experiments/race/report?{query}")
        assert wrong.status_code == 422
        assert wrong.json()["errors"][0]["field"] == field
    assert (await client.get("/experiments/race/report", headers={"X-Admin-Key": "no"})).status_code == 401


async def test_the_history_ends_where_the_comparison_stands(outcomes: OutcomeWriter, make: Callable) -> None:
    await split(outcomes, a=5000, b=5000)
    begin = datetime.now(UTC) - timedelta(days=60)
    batch, words = [], []
    for number in range(900):
        # Some subjects come back on other days, some give no feedback.
        variant, subject = "ab"[number % 2], f"{number % 2}-{number % 130}"
        one = make("happy", variant=variant, subject=subject, created_at=begin + timedelta(hours=number))
        batch.append(one)
        if number % 3:
            words.append((one.id, number % (4 if variant == "a" else 6) != 1))
    await outcomes.store.add(batch)
    for identity, correct in words:
        await take_feedback(outcomes, identity, 0, emotion=None, correct=correct)
    [comparison] = (await report(outcomes)).comparisons
    history = comparison.history
    assert 50 < len(history) <= 200
    last = history[-1]
    assert last.faces == len(words)
    assert (last.difference, last.interval, last.p_value) == (
        comparison.difference,
        comparison.always_valid_interval,
        comparison.always_valid_p,
    )
    assert [point.time for point in history] == sorted(point.time for point in history)
    assert [point.faces for point in history] == sorted(point.faces for point in history)
    assert history[0].interval is None
    # What a report at that time would have said, of the predictions until then.
    middle = history[len(history) // 2]
    await outcomes.store.engine.dispose()
    async with outcomes.store.engine.begin() as connection:
        await connection.execute(delete(predictions).where(predictions.c.created_at >= middle.time))
    [then] = (await report(outcomes)).comparisons
    assert (then.difference, then.always_valid_interval, then.always_valid_p) == (
        middle.difference,
        middle.interval,
        middle.p_value,
    )


async def test_counts_are_kept_for_a_while_that_grows_with_their_cost(
    client: Any, fill: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(client.outcomes, "a", 10, 5, split=client.split)
    first = (await client.get("/experiments/race/report")).json()
    assert first["age_s"] < 5
    await fill(client.outcomes, "a", 10, 5, split=client.split)
    # As if counting had taken ten seconds.
    monkeypatch.setattr(behind, "_COUNTINGS", 1e9)
    kept = (await client.get("/experiments/race/report")).json()
    assert kept["variants"][0]["requests"] == first["variants"][0]["requests"] == 10
    made = [datetime.fromisoformat(one["generated_at"]) for one in (first, kept)]
    assert abs(made[0] - made[1]) < timedelta(seconds=0.1)
    fresh = (await client.get("/experiments/race/report?fresh=true")).json()
    assert fresh["variants"][0]["requests"] == 20
    monkeypatch.setattr(behind, "OLDEST_S", 0)
    assert (await client.get("/experiments/race/report")).json()["age_s"] < kept["age_s"] + 5


async def test_who_asks_while_it_counts_waits_for_the_same_and_not_for_ever(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, go_on = 0, asyncio.Event()
    tally = behind.tally

    async def slow(*given: Any) -> Any:
        nonlocal counted
        counted += 1
        await go_on.wait()
        return await tally(*given)

    monkeypatch.setattr(behind, "tally", slow)
    monkeypatch.setattr(behind, "_WAIT_S", 0.2)
    answers = await asyncio.gather(*(client.get("/experiments/race/report?fresh=true") for _ in range(3)))
    assert {answer.status_code for answer in answers} == {503}
    assert "being counted" in answers[0].json()["detail"]
    assert answers[0].headers["retry-after"]
    go_on.set()
    monkeypatch.setattr(behind, "_WAIT_S", 20)
    assert (await client.get("/experiments/race/report")).status_code == 200
    assert counted == 1
