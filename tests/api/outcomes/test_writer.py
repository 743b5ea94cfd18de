"""What a database that is slow, full, dead or absent costs."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.addresses import parse_url
from api.errors import OutcomesUnavailable
from api.observe.metrics import Metrics
from api.outcomes import lifespan, tables
from api.outcomes.database import open_engine, open_sync_engine
from api.outcomes.feedback import take_feedback
from api.outcomes.store import OutcomeStore
from api.outcomes.writer import OutcomeWriter, retry_s
from api.settings import Settings


async def test_what_is_buffered_is_written_at_shutdown(open_store: Callable, make: Callable, rows: Callable) -> None:
    # More than one batch, and a flush that never comes by itself.
    async with open_store(outcome_flush_s=60) as outcomes:
        for _ in range(1200):
            outcomes.record(make())
    async with open_store() as outcomes:
        await outcomes.ready()
        assert len(await rows(outcomes, tables.predictions)) == 1200


async def test_a_flush_comes_by_itself(
    outcomes: OutcomeWriter, make: Callable, value: Callable, until: Callable
) -> None:
    outcomes.record(make())
    assert value("emotion_outcomes_buffered") == 1
    await until(lambda: value("emotion_outcomes_written_total") == 1)
    await until(lambda: value("emotion_outcomes_buffered") == 0)


async def test_the_buffer_is_bounded_in_rows_and_overflow_is_counted(
    open_store: Callable, make: Callable, value: Callable, rows: Callable
) -> None:
    async with open_store(outcome_buffer=1000, outcome_flush_s=60) as outcomes:
        await outcomes.ready()
        crowd = ["happy"] * 99
        for _ in range(12):
            outcomes.record(make(*crowd))
        assert value("emotion_outcomes_buffered") == 10
        assert value("emotion_outcomes_lost_total", reason="overflow") == 2
    async with open_store() as outcomes:
        await outcomes.ready()
        assert len(await rows(outcomes, tables.faces)) == 990


async def test_batches_are_bounded_in_rows_and_leave_time_for_requests(
    open_store: Callable, make: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    batches: list[int] = []
    times: list[float] = []
    async with open_store(outcome_flush_s=60) as outcomes:
        await outcomes.ready()
        add = outcomes.store.add

        async def spy(batch: Any, *rest: Any) -> None:
            times.append(loop.time())
            await add(batch, *rest)
            batches.append(sum(1 + len(prediction.faces) for prediction in batch))
            times.append(loop.time())

        monkeypatch.setattr(outcomes.store, "add", spy)
        crowd = ["happy"] * 99
        for _ in range(12):
            outcomes.record(make(*crowd))
        # The rest waits for the flush, or here for the end.
        await until(lambda: len(batches) == 2)
    assert batches == [500, 500, 200]
    assert times[2] - times[1] > 0.015


async def test_a_writer_that_fails_holds_up_only_feedback_on_what_it_holds(
    outcomes: OutcomeWriter, make: Callable, value: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, waiting = make(), make()
    outcomes.record(stored)
    await outcomes.written(stored.id)

    async def fail(*_: Any) -> None:
        raise OperationalError("INSERT", None, Exception("the disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(outcomes.store, "add", fail)
        outcomes.record(waiting)
        await until(lambda: value("emotion_outcomes_write_failures_total") >= 1)
        given, _ = await take_feedback(outcomes, stored.id, 0, emotion="happy", correct=None)
        assert given.correct
        with pytest.raises(OutcomesUnavailable):
            await take_feedback(outcomes, waiting.id, 0, emotion="happy", correct=None)


async def test_a_refused_row_is_counted_once_and_an_error_of_ours_loses_none(
    outcomes: OutcomeWriter, make: Callable, value: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    await outcomes.ready()
    add = outcomes.store.add
    poison, good = make(version=2**70), make()
    errors = [OperationalError("INSERT", None, Exception("gone")), RuntimeError("a mistake")]

    async def sometimes(batch: Any, *rest: Any) -> None:
        if [prediction.id for prediction in batch] == [good.id] and errors:
            raise errors.pop(0)
        await add(batch, *rest)

    monkeypatch.setattr(outcomes.store, "add", sometimes)
    outcomes.record(poison)
    outcomes.record(good)
    await until(lambda: value("emotion_outcomes_written_total") == 1)
    assert value("emotion_outcomes_lost_total", reason="refused") == 1
    assert value("emotion_outcomes_write_failures_total") == 2
    assert errors == []


async def test_a_locked_database_is_waited_for(
    tmp_path: Path, open_store: Callable, make: Callable, value: Callable, rows: Callable, until: Callable
) -> None:
    async with open_store() as outcomes:
        await outcomes.ready()
        if outcomes.store.engine.dialect.name != "sqlite":
            pytest.skip("a lock of SQLite's")
        other = open_sync_engine(parse_url(f"sqlite:///{tmp_path}/outcomes.db"))
        with other.begin():
            outcomes.record(make())
            await until(lambda: value("emotion_outcomes_write_failures_total") >= 1)
            with pytest.raises(OutcomesUnavailable):
                await outcomes.ready()
            assert value("emotion_outcomes_buffered") == 1
        other.dispose()
        await until(lambda: value("emotion_outcomes_buffered") == 0)
        assert len(await rows(outcomes, tables.predictions)) == 1
        assert value("emotion_outcomes_lost_total", reason="overflow") == 0


async def test_a_database_that_is_absent_at_start_up_is_migrated_when_it_comes(
    tmp_path: Path, open_store: Callable, make: Callable, value: Callable, rows: Callable, until: Callable
) -> None:
    folder = tmp_path / "mount"
    # A file where the folder should be.
    folder.write_text("")
    async with open_store(database_url=f"sqlite:///{folder}/outcomes.db") as outcomes:
        outcomes.record(make())
        await until(lambda: value("emotion_outcomes_write_failures_total") >= 1)
        with pytest.raises(OutcomesUnavailable):
            await take_feedback(outcomes, make().id, 0, emotion="happy", correct=None)
        folder.unlink()
        await until(lambda: value("emotion_outcomes_written_total") == 1)
        assert len(await rows(outcomes, tables.predictions)) == 1


async def test_a_file_that_is_no_database_is_logged_once(
    tmp_path: Path, open_store: Callable, make: Callable, value: Callable, until: Callable, caplog: Any
) -> None:
    (tmp_path / "notes").write_text("These are no tables. " * 100)
    async with open_store(database_url=f"sqlite:///{tmp_path}/notes") as outcomes:
        outcomes.record(make())
        await until(lambda: value("emotion_outcomes_write_failures_total") >= 2)
        with pytest.raises(OutcomesUnavailable):
            await take_feedback(outcomes, make().id, 0, emotion="happy", correct=None)
    said = [record for record in caplog.records if "file is not a database" in record.message]
    assert len(said) == 1
    assert not any(record.exc_info for record in caplog.records)


async def test_a_database_that_stays_away_costs_what_was_buffered_and_shutdown_is_bounded(
    tmp_path: Path, open_store: Callable, make: Callable, value: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mount"
    folder.write_text("")
    async with asyncio.timeout(30):
        async with open_store(database_url=f"sqlite:///{folder}/outcomes.db") as outcomes:
            for _ in range(3):
                outcomes.record(make())
    assert value("emotion_outcomes_lost_total", reason="shutdown") == 3
    assert value("emotion_outcomes_buffered") == 0
    assert "3 predictions are lost" in caplog.text


async def test_a_database_that_has_gone_silent_does_not_hold_up_shutdown(
    open_store: Callable, make: Callable, value: Callable, until: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()
    silent: set[Any] = set()

    async def wait_for_it(*_: Any, **__: Any) -> None:
        """As drivers may, it waits for the server even when cancelled."""
        silent.add(asyncio.current_task())
        while not answers.is_set():
            with suppress(asyncio.CancelledError):
                await answers.wait()
        raise asyncio.CancelledError

    dispose = AsyncEngine.dispose
    monkeypatch.setattr(lifespan, "CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(OutcomeStore, "prune", wait_for_it)
    async with asyncio.timeout(20):
        async with open_store(outcome_flush_s=60) as outcomes:
            await until(lambda: len(silent) == 1)
            monkeypatch.setattr(OutcomeStore, "add", wait_for_it)
            monkeypatch.setattr(AsyncEngine, "dispose", wait_for_it)
            outcomes.record(make())
    answers.set()
    await asyncio.wait(silent)
    await dispose(outcomes.store.engine)
    # Retention, the writer and the closing of connections.
    assert len(silent) == 3
    assert value("emotion_outcomes_lost_total", reason="shutdown") == 1


async def test_a_server_that_dies_and_comes_back_loses_nothing(
    postgres: Any, open_store: Callable, make: Callable, value: Callable, rows: Callable, until: Callable
) -> None:
    async with open_store(database_url=postgres.create_database()) as outcomes:
        first = make()
        outcomes.record(first)
        await outcomes.written(first.id)
        await asyncio.to_thread(postgres.stop)
        try:
            for _ in range(20):
                outcomes.record(make())
            await until(lambda: value("emotion_outcomes_write_failures_total") >= 1)
            with pytest.raises(OutcomesUnavailable):
                await take_feedback(outcomes, first.id, 0, emotion="happy", correct=None)
            assert value("emotion_outcomes_buffered") == 20
        finally:
            await asyncio.to_thread(postgres.start)
        await until(lambda: value("emotion_outcomes_written_total") == 21)
        assert len(await rows(outcomes, tables.predictions)) == 21
        _, prediction = await take_feedback(outcomes, first.id, 0, emotion="happy", correct=None)
        assert prediction.emotions == ("happy",)


async def test_tables_that_vanish_are_made_again(
    outcomes: OutcomeWriter, make: Callable, race: Callable, rows: Callable, value: Callable, until: Callable
) -> None:
    experiment = race(a=1, b=1)
    outcomes.register_split(experiment)
    await outcomes.ready()
    async with outcomes.store.engine.begin() as connection:
        for table in ("feedback", "faces", "predictions", "splits", "assignments", "alembic_version"):
            await connection.exec_driver_sql(f"DROP TABLE {table}")
    outcomes.record(make())
    await until(lambda: value("emotion_outcomes_written_total") == 1)
    assert len(await rows(outcomes, tables.predictions)) == 1
    assert [row.id for row in await rows(outcomes, tables.splits)] == [experiment.split_id]


async def test_a_split_registered_before_the_writer_starts_is_stored(
    database_url: str, metrics: Metrics, race: Callable, rows: Callable
) -> None:
    engine = open_engine(parse_url(database_url))
    outcomes = OutcomeWriter(Settings(subject_secret="s" * 16), metrics, OutcomeStore(engine))
    # The watcher of the experiments file works in a thread of its own.
    await asyncio.to_thread(outcomes.register_split, race(a=1, b=1))
    outcomes.register_split(race(a=1, b=1))
    running = asyncio.create_task(outcomes.run())
    await outcomes.ready()
    outcomes.register_split(race(a=1, b=3))
    outcomes.stop()
    await running
    assert [row.weights for row in await rows(outcomes, tables.splits)] == [
        {"a": 5000, "b": 5000},
        {"a": 2500, "b": 7500},
    ]
    await engine.dispose()


async def test_a_split_waits_for_a_database_that_is_away(
    tmp_path: Path, open_store: Callable, race: Callable, rows: Callable, value: Callable, until: Callable
) -> None:
    folder = tmp_path / "mount"
    folder.write_text("")
    async with open_store(database_url=f"sqlite:///{folder}/outcomes.db") as outcomes:
        outcomes.register_split(race(a=1, b=1))
        await until(lambda: value("emotion_outcomes_write_failures_total") >= 1)
        with pytest.raises(OutcomesUnavailable):
            await outcomes.ready()
        folder.unlink()
        await until(lambda: not outcomes.unwritten)
        assert len(await rows(outcomes, tables.splits)) == 1


def test_attempts_become_rarer_and_never_stop() -> None:
    waits = [retry_s(failures) for failures in range(1, 10)]
    assert waits[0] == 0.5
    assert waits == sorted(waits)
    # A night without a database.
    assert waits[-1] == retry_s(5000) == 30
