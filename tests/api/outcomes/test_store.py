import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from api.outcomes import tables
from api.outcomes.records import FaceRecord
from api.outcomes.writer import OutcomeWriter


async def test_a_prediction_is_written_without_its_subject(
    outcomes: OutcomeWriter, make: Callable, rows: Callable
) -> None:
    one = make("happy", "sad", subject="anna")
    other = make(subject="anna", experiment=None, variant=None)
    for prediction in (one, other):
        outcomes.record(prediction)
        await outcomes.written(prediction.id)
    first, second = await rows(outcomes, tables.predictions)
    assert first.id == one.id
    assert first.created_at == one.created_at
    assert (first.faces, first.classes, first.version, first.latency_ms) == (2, list(one.classes), 1, 12.5)
    assert first.subject == second.subject
    assert len(first.subject) == 64
    assert "anna" not in repr(first)
    assert (second.experiment, second.variant) == (None, None)
    written = await rows(outcomes, tables.faces)
    assert {(row.prediction_id, row.face, row.emotion) for row in written} == {
        (one.id, 0, "happy"),
        (one.id, 1, "sad"),
        (other.id, 0, "happy"),
    }


async def test_without_a_secret_subjects_are_hashed_with_a_random_one(
    open_store: Callable, make: Callable, rows: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            async with open_store(subject_secret=None) as outcomes:
                outcomes.record(make(subject="anna"))
    assert "EMOTION_SUBJECT_SECRET is not set" in caplog.text
    async with open_store() as outcomes:
        await outcomes.ready()
        first, second = await rows(outcomes, tables.predictions)
    assert first.subject != second.subject


async def test_a_batch_may_be_repeated(outcomes: OutcomeWriter, make: Callable, rows: Callable) -> None:
    await outcomes.ready()
    batch = [make("happy", "sad"), make()]
    await outcomes.store.add(batch)
    await outcomes.store.add([*batch, make()])
    assert len(await rows(outcomes, tables.predictions)) == 3
    assert len(await rows(outcomes, tables.faces)) == 4


async def test_a_split_is_stored_once_by_whoever_sees_it_first(
    open_store: Callable, make: Callable, race: Callable, rows: Callable
) -> None:
    start = datetime.now(UTC)
    few, more = race(a=9000, b=1000), race(a=8000, b=2000)
    async with open_store() as one, open_store() as lagging:
        for experiment in (few, more, few):
            one.register_split(experiment)
            await one.ready()
        # A replica that reads the file late, or reads the older one again after a restart, changes nothing.
        lagging.register_split(few)
        await lagging.ready()
        stored = await rows(one, tables.splits)
        assert [(row.id, row.weights["b"]) for row in stored] == [(few.split_id, 1000), (more.split_id, 2000)]
        assert start < stored[0].first_seen < stored[1].first_seen
        for present, expected in ((None, more), (few.split_id, few), ("gone", more)):
            assert (await one.store.split("race", present)).id == expected.split_id
        # Back to the older one: without a configuration, use tells.
        await one.store.add([make(split=few.split_id, created_at=start + timedelta(hours=1))])
        found = await one.store.split("race")
    assert (found.id, found.control, found.weights) == (few.split_id, "a", {"a": 9000, "b": 1000})
    assert found.first_seen == stored[0].first_seen


async def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(
    outcomes: OutcomeWriter, make: Callable, rows: Callable, value: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    # SQLite takes no integer over 63 bits, PostgreSQL neither.
    poison = make(version=2**70)
    good = make()
    outcomes.record(poison)
    outcomes.record(good)
    await outcomes.written(good.id)
    assert [row.id for row in await rows(outcomes, tables.predictions)] == [good.id]
    assert value("emotion_outcomes_lost_total", reason="refused") == 1
    assert value("emotion_outcomes_written_total") == 1
    assert poison.id in caplog.text
    assert isinstance(poison.faces[0], FaceRecord)
