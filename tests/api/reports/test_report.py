"""Reports on both kinds of database: what counts where, and what is advised."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from api.app import create_app
from api.errors import UnknownExperiment
from api.outcomes.database import open_sync_engine, parse_url
from api.outcomes.feedback import Outcomes
from api.outcomes.migrate import migrate
from api.reports import proportions
from api.reports.__main__ import app as command_line
from api.reports.html import render
from api.reports.report import build_report, macro_f1
from api.reports.schema import Report
from api.settings import Settings

KEY = "a key of the tests"


async def report(outcomes: Outcomes, name: str = "race", effect: float = 0.02, present: str | None = None) -> Report:
    await outcomes.ready()
    return await build_report(outcomes.store, name, effect=effect, power=0.8, present=present)


def split(outcomes: Outcomes, split_id: str = "present", **weights: float) -> None:
    outcomes._writer.note_split(split_id, "race", "a", weights)


async def test_everything_counts_where_it_belongs(outcomes: Outcomes, make: Callable) -> None:
    split(outcomes, a=5000, b=5000)
    await outcomes.ready()
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
        await outcomes.take_feedback(prediction.id, 0, emotion="sad", correct=None)
    await outcomes.take_feedback(one.id, 0, emotion="happy", correct=None)
    await outcomes.take_feedback(one.id, 1, emotion="angry", correct=None)
    await outcomes.take_feedback(batch[2].id, 0, emotion=None, correct=True)

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
    assert "need feedback" in found.advice


async def test_a_better_variant(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480)
    await fill(outcomes, "b", 800, 640)
    found = await report(outcomes)
    assert found.verdict == "variant better"
    assert found.advice.startswith("Variant 'b' is better than control 'a' by 20.0 points of accuracy (+")
    [one] = found.comparisons
    assert one.difference == pytest.approx(0.2)
    assert one.always_valid_interval.low < one.interval.low < 0.2 < one.interval.high < one.always_valid_interval.high
    assert one.p_value < one.always_valid_p < 0.001
    assert found.variants[1].design_effect == 1
    wilson = proportions.wilson(0.8, 800)
    accuracy = found.variants[1].accuracy
    assert (accuracy.low, accuracy.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


async def test_guardrails_are_part_of_the_advice(outcomes: Outcomes, fill: Callable, make: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480)
    await fill(outcomes, "b", 480, 432)
    await outcomes.store.add([make(variant="b", fallback=True) for _ in range(320)])
    found = await report(outcomes)
    assert found.verdict == "variant better"
    assert found.advice.endswith(": promote it, but 'b' falls back in 40 % of its requests.")
    assert [one.feedback_rate for one in found.variants] == [1, 1]

    await outcomes.store.add([make(variant=variant) for variant in "ab" for _ in range(400)])
    found = await report(outcomes)
    assert [one.feedback_rate for one in found.variants] == pytest.approx([800 / 1200, 480 / 880], abs=1e-6)
    assert found.advice.endswith(
        ", but 'b' falls back in 26.7 % of its requests and gets feedback from 54.5 % of its subjects, the control "
        "from 66.7 %."
    )


async def test_equal_guardrails_are_not_mentioned(outcomes: Outcomes, fill: Callable, make: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 300, 200)
    await fill(outcomes, "b", 300, 210)
    # A single subject's fallbacks are one unit, however many they are.
    await outcomes.store.add([make(variant="b", fallback=True, subject="anna") for _ in range(50)])
    await outcomes.store.add([make(variant="a", subject="bert") for _ in range(50)])
    found = await report(outcomes)
    assert found.variants[1].fallback_rate == pytest.approx(1 / 7, abs=1e-6)
    assert "but" not in found.advice


async def test_a_better_control(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 640)
    await fill(outcomes, "b", 800, 480)
    found = await report(outcomes)
    assert found.verdict == "control better"
    assert found.advice.startswith("Control 'a' is better than 'b' by 20.0 points")


async def test_many_faces_of_few_subjects_prove_nothing(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480, subjects=20)
    await fill(outcomes, "b", 800, 640, subjects=20)
    found = await report(outcomes)
    for one in found.variants:
        assert (one.feedback, one.subjects) == (800, 20)
        # A subject's 40 faces are all right or all wrong.
        assert one.design_effect == pytest.approx(40 * 20 / 19, abs=1e-3)
    assert found.comparisons[0].p_value > 0.1
    assert found.verdict == "keep running"


async def test_too_little_feedback_decides_nothing(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 90, 10)
    await fill(outcomes, "b", 90, 80)
    found = await report(outcomes)
    [one] = found.comparisons
    assert one.p_value < 1e-6
    assert (one.always_valid_p, one.always_valid_interval, one.significant) == (None, None, False)
    assert found.verdict == "keep running"


async def test_what_is_still_needed(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=9, b=1)
    await fill(outcomes, "a", 900, 585)
    await fill(outcomes, "b", 100, 65)
    found = await report(outcomes, effect=0.05)
    [one] = found.comparisons
    assert found.verdict == "keep running"
    assert one.needed.control == pytest.approx(9 * one.needed.variant, rel=0.01)
    assert one.needed.still == one.needed.variant - 100 + one.needed.control - 900
    assert one.needed.single_look < one.needed.variant
    assert f"about {one.needed.still:,} more faces with feedback" in found.advice
    assert "5 points" in found.advice
    found = await report(outcomes, effect=0.4)
    assert found.comparisons[0].needed.still < one.needed.still


async def test_a_broken_split_is_said_first(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=1, b=1)
    await fill(outcomes, "a", 800, 480)
    await fill(outcomes, "b", 600, 540)
    found = await report(outcomes)
    assert found.split.broken
    assert found.split.always_valid_p < 0.01
    assert found.split.chi_square_p < 1e-6
    assert "unlikely at a single look" in found.split.warnings[0]
    assert found.verdict == "broken split"
    assert "a has 800 for 700" in found.advice
    assert found.comparisons[0].significant


async def test_a_ramp_during_a_trend_makes_no_difference(outcomes: Outcomes, fill: Callable) -> None:
    # An A/A test: both are right in 50 % of the first week and in 80 % of the second, when b gets more of the traffic.
    split(outcomes, "first", a=9000, b=1000)
    await fill(outcomes, "a", 1800, 900, split="first")
    await fill(outcomes, "b", 200, 100, split="first")
    split(outcomes, a=5000, b=5000)
    await fill(outcomes, "a", 1000, 800)
    await fill(outcomes, "b", 1000, 800)
    found = await report(outcomes)
    assert (found.split.id, found.split.elsewhere) == ("present", 2000)
    assert [(one.requests, one.feedback, one.accuracy.value) for one in found.variants] == [(1000, 1000, 0.8)] * 2
    assert found.comparisons[0].difference == 0
    assert found.verdict == "keep running"
    assert "2,000 earlier requests under other weights" in found.advice


async def test_the_split_is_judged_by_subjects_of_its_own(outcomes: Outcomes, make: Callable) -> None:
    split(outcomes, "first", a=9000, b=1000)
    split(outcomes, a=5000, b=5000)
    await outcomes.ready()
    # A replica that has not read the new weights yet goes on with the old ones.
    late = datetime.now(UTC) + timedelta(seconds=5)
    old = [
        make(variant=v, split="first", created_at=late) for v, count in (("a", 900), ("b", 100)) for _ in range(count)
    ]
    await outcomes.store.add(old)
    await outcomes.ready()
    # One subject that asks all the time is one subject, and there are too few to say how often they ask.
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


async def test_a_small_experiment_is_not_broken_by_chance(outcomes: Outcomes, make: Callable) -> None:
    split(outcomes, a=9900, b=100)
    await outcomes.ready()
    # Chi-square would say 0.0003 of two where one tenth is expected.
    await outcomes.store.add([make(variant=variant) for variant in "aaaaaaaabb"])
    found = await report(outcomes)
    assert (found.split.chi_square_p, found.split.broken, found.split.warnings) == (None, False, [])


async def test_requests_that_get_lost_from_one_variant_break_the_split(
    open_store: Callable, make: Callable, value: Callable, until: Callable
) -> None:
    async with open_store(outcome_flush_s=0.01) as one, open_store(outcome_flush_s=0.01) as other:
        split(one, a=1, b=1)
        for outcomes, good in ((one, 150), (other, 50)):
            for variant in "ab":
                for _ in range(good):
                    outcomes._writer.count_assigned("present", variant)
                    outcomes.record(make(variant=variant))
        # The same number of failures on either side is nobody's fault; and 20 more are nothing that is sure.
        for variant, failures in (("a", 10), ("b", 14)):
            for _ in range(failures):
                one._writer.count_assigned("present", variant)
        await until(lambda: not (one._writer._unwritten() or other._writer._unwritten()))
        found = await report(one)
        assert [(variant.requests, variant.lost) for variant in found.variants] == [(200, 10), (200, 14)]
        assert found.split.assigned == {"a": 210, "b": 214}
        assert not found.split.broken
        # A gateway that stops counting and one that starts anew add up.
        async with open_store(outcome_flush_s=60) as third:
            for _ in range(60):
                third._writer.count_assigned("present", "b")
            # Asked for by name, or waiting: not lost.
            third.record(make(variant="a", forced=True))
        found = await report(one)
    assert found.split.lost == {"a": 10, "b": 74}
    assert found.split.observed == {"a": 200, "b": 200}
    assert found.split.lost_p < 0.001
    assert (found.verdict, found.split.broken) == ("broken split", True)
    assert "do not get lost from the variants alike (a 4.76%, b 27.01% of those assigned" in found.advice


async def test_subjects_who_do_not_ask_equally_often_are_a_warning(outcomes: Outcomes, make: Callable) -> None:
    split(outcomes, a=1, b=1)
    await outcomes.ready()

    def ask(variant: str, times: int) -> list:
        return [make(variant=variant, subject=f"{variant}{subject}") for subject in range(150) for _ in range(times)]

    await outcomes.store.add(ask("a", 4) + ask("b", 4) + [make(variant=v, subject=f"{v}0") for v in "ab"])
    found = await report(outcomes)
    assert found.split.observed == {"a": 150, "b": 150}
    assert not found.split.broken
    await outcomes.store.add(ask("a", 1))
    found = await report(outcomes)
    assert found.split.requests_per_subject == {"a": 5.007, "b": 4.007}
    assert (found.split.chi_square_p, found.split.broken, found.verdict) == (1, False, "keep running")
    [warning] = found.split.warnings
    assert "do not send equally many requests (a 5.01, b 4.01 each; p " in warning


async def test_more_variants_share_the_alpha(outcomes: Outcomes, fill: Callable) -> None:
    split(outcomes, a=1, b=1, c=0, d=1)
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
    assert found.advice.endswith("; 'd' may be ended already.")


async def test_an_unknown_name(outcomes: Outcomes) -> None:
    split(outcomes, a=1, b=1)
    with pytest.raises(UnknownExperiment, match=r"There is no experiment 'rave'\. Available: race"):
        await report(outcomes, "rave")


def test_macro_f1_of_known_cases() -> None:
    assert macro_f1([]) is None
    assert macro_f1([[0, 0], [0, 0]]) is None
    assert macro_f1([[5, 0, 0], [0, 7, 0], [0, 0, 0]]) == 1
    assert macro_f1([[2, 1], [0, 3]]) == pytest.approx((4 / 5 + 6 / 7) / 2)


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway with the experiment `race` configured, and the outcomes of it as `client.outcomes`."""
    variants = [{"name": name, "model": "residual", "version": 1, "weight": 50} for name in ("a", "b")]
    file = tmp_path / "experiments.yaml"
    file.write_text(
        yaml.safe_dump({"experiments": [{"name": "race", "start": "2020-01-01T00:00:00Z", "variants": variants}]})
    )
    settings = Settings(database_url=database_url, admin_key=KEY, experiments=file, subject_secret="s" * 16)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport, headers = httpx.ASGITransport(app=app), {"X-Admin-Key": KEY}
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as opened:
            opened.outcomes = app.state.gateway.outcomes
            [experiment] = app.state.gateway.experiments.current.experiments
            opened.split = experiment.split_id
            yield opened


async def test_over_http(client: Any, fill: Callable) -> None:
    # Nobody has asked for anything yet.
    empty = (await client.get("/experiments/race/report")).json()
    assert empty["verdict"] == "keep running"
    assert [one["accuracy"] for one in empty["variants"]] == [None, None]
    assert "<svg" not in (await client.get("/experiments/race/report?format=html")).text
    await fill(client.outcomes, "a", 800, 480, split=client.split)
    await fill(client.outcomes, "b", 800, 640, split=client.split)

    response = await client.get("/experiments/race/report?effect=0.03&power=0.9")
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["verdict"], body["effect"], body["power"]) == ("variant better", 0.03, 0.9)

    unknown = await client.get("/experiments/rave/report")
    assert unknown.status_code == 404
    assert unknown.json()["type"].endswith(":unknown-experiment")
    assert unknown.json()["available"] == ["race"]
    for query, field in (("effect=0", "effect"), ("power=1", "power"), ("format=pdf", "format"), ("efect=1", "efect")):
        wrong = await client.get(f"/experiments/race/report?{query}")
        assert wrong.status_code == 422
        assert wrong.json()["errors"][0]["field"] == field
    assert (await client.get("/experiments/race/report", headers={"X-Admin-Key": "no"})).status_code == 401


async def test_html(client: Any, fill: Callable, make: Callable) -> None:
    await fill(client.outcomes, "a", 800, 480, split=client.split)
    await fill(client.outcomes, "b", 600, 540, split=client.split)
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for query, accept in (("", browser), ("?format=html", "application/json")):
        response = await client.get(f"/experiments/race/report{query}", headers={"Accept": accept})
        assert response.headers["content-type"] == "text/html; charset=utf-8"
    for query, accept in (("", "*/*"), ("", "application/json, text/html"), ("?format=json", browser)):
        response_json = await client.get(f"/experiments/race/report{query}", headers={"Accept": accept})
        assert response_json.headers["content-type"] == "application/json"
    page = response.text
    assert "Sample-ratio mismatch" in page
    named = Report(**response_json.json()).model_copy(update={"experiment": "<script>x"})
    assert "<script" not in render(named)
    assert "&lt;script&gt;x" in render(named)
    # Nothing is fetched from anywhere.
    assert not re.search(r"(src|href)=|url\(|@import", page)
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 5
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        width, height = float(root.get("width")), float(root.get("height"))
        for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
            assert 0 < float(circle.get("cx")) < width
            assert 0 < float(circle.get("cy")) < height


async def test_the_command_line(
    client: Any,
    fill: Callable,
    make: Callable,
    until: Callable,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", database_url)
    await client.get("/experiments/race/report")
    # The gateway's own retention job must have come by.
    metrics = client.outcomes._metrics.registry
    await until(lambda: metrics.get_sample_value("emotion_retention_last_success_timestamp_seconds") > 0)
    await fill(client.outcomes, "a", 300, 200, split=client.split)
    await fill(client.outcomes, "b", 300, 210, split=client.split)
    await client.outcomes.store.add([make(created_at=datetime.now(UTC) - timedelta(days=91))])

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, command_line, arguments)

    shown = await run("report", "race")
    assert shown.exit_code == 0, shown.output
    assert "Keep running" in shown.output
    printed = await run("report", "race", "--json")
    assert json.loads(printed.output)["experiment"] == "race"
    page = tmp_path / "report.html"
    assert (await run("report", "race", "--html", str(page))).exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    unknown = await run("report", "rave")
    assert (unknown.exit_code, unknown.stderr) == (1, "There is no experiment 'rave'. Available: race.\n")
    pruned = await run("prune")
    assert pruned.output == "predictions deleted: 1\n"

    await fill(client.outcomes, "a", 400, 200, split=client.split)
    assert (await run("report", "race")).exit_code == 3


def test_the_command_line_with_wrong_settings_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", "mysql://me:hunter2@host/nowhere")
    failed = CliRunner().invoke(command_line, ["report", "race"])
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[0].startswith("EMOTION_DATABASE_URL: mysql is none of sqlite, postgresql")
    assert "hunter2" not in failed.output


async def test_the_command_line_without_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:9/nowhere")
    failed = CliRunner().invoke(command_line, ["report", "race"])
    assert failed.exit_code == 1
    assert "Connection refused" in failed.stderr or "connection failed" in failed.stderr
    assert "hunter2" not in failed.output
    assert len(failed.stderr.splitlines()) == 1


def test_the_command_line_on_what_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "missing" / "outcomes.db"
    monkeypatch.setenv("EMOTION_DATABASE_URL", f"sqlite:///{file}")
    failed = CliRunner().invoke(command_line, ["report", "race"])
    assert (failed.exit_code, failed.stderr) == (1, f"there is no file {file}\n")
    assert not file.parent.exists()

    file.parent.mkdir()
    file.write_text("These are no tables. " * 100)
    failed = CliRunner().invoke(command_line, ["report", "race"])
    assert failed.exit_code == 1
    assert failed.stderr == f"sqlite+aiosqlite:///{file}: file is not a database\n"

    file.unlink()
    migrate(parse_url(f"sqlite:///{file}"))
    engine = open_sync_engine(parse_url(f"sqlite:///{file}"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'r9999'")
    engine.dispose()
    failed = CliRunner().invoke(command_line, ["report", "race"])
    assert failed.exit_code == 1
    assert "the tables are newer than this program" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
