import asyncio
import logging
import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from api.outcomes import tables
from api.outcomes.database import open_sync_engine, parse_url
from api.outcomes.feedback import Outcomes
from api.outcomes.migrate import migrate
from api.outcomes.records import FaceRecord


def test_many_replicas_migrate_at_once(database_url: str) -> None:
    url = parse_url(database_url)

    async def run() -> None:
        await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(5)))

    asyncio.run(run())
    migrate(url)


def test_migrations_make_the_tables_of_the_code(database_url: str) -> None:
    url = parse_url(database_url)
    migrate(url)
    migrated = open_sync_engine(url)
    direct = create_engine("sqlite://") if url.get_backend_name() == "sqlite" else None

    def shape(engine: object, schema: str | None = None) -> dict:
        found = inspect(engine)
        return {
            name: (
                {(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name, schema)},
                found.get_pk_constraint(name, schema)["constrained_columns"],
                {(i["name"], tuple(i["column_names"])) for i in found.get_indexes(name, schema)},
                {
                    (tuple(k["constrained_columns"]), k["referred_table"], k["options"].get("ondelete"))
                    for k in found.get_foreign_keys(name, schema)
                },
            )
            for name in tables.metadata.tables
        }

    if direct is not None:
        tables.metadata.create_all(direct)
        expected = shape(direct)
        direct.dispose()
    else:
        with migrated.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA direct")
            tables.metadata.create_all(connection.execution_options(schema_translate_map={None: "direct"}))
        expected = shape(migrated, "direct")
    assert shape(migrated) == expected
    migrated.dispose()


async def test_a_prediction_is_written_without_its_subject(outcomes: Outcomes, make: Callable, rows: Callable) -> None:
    one = make("happy", "sad", subject="anna")
    other = make(subject="anna", experiment=None, variant=None)
    for prediction in (one, other):
        outcomes.record(prediction)
        await outcomes._writer.settled(prediction.id)
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


async def test_retention_deletes_what_is_older_with_all_that_belongs_to_it(
    outcomes: Outcomes, make: Callable, rows: Callable, value: Callable, until: Callable
) -> None:
    now = datetime.now(UTC)
    old = make(created_at=now - timedelta(days=90, minutes=1))
    young = make(created_at=now - timedelta(days=89))
    # More than are deleted at once.
    many = [make(created_at=now - timedelta(days=200, seconds=number)) for number in range(600)]
    # The retention job comes by at start-up.
    await until(lambda: value("emotion_retention_last_success_timestamp_seconds") > 0)
    await outcomes.store.add([old, young, *many])
    await outcomes.take_feedback(young.id, 0, emotion="happy", correct=None)
    assert await outcomes.prune() == 601
    assert [row.id for row in await rows(outcomes, tables.predictions)] == [young.id]
    assert len(await rows(outcomes, tables.faces)) == 1
    assert len(await rows(outcomes, tables.feedback)) == 1
    assert await outcomes.prune() == 0
    assert value("emotion_outcomes_pruned_total") == 601


async def test_a_batch_may_be_repeated(outcomes: Outcomes, make: Callable, rows: Callable) -> None:
    await outcomes.ready()
    batch = [make("happy", "sad"), make()]
    await outcomes.store.add(batch)
    await outcomes.store.add([*batch, make()])
    assert len(await rows(outcomes, tables.predictions)) == 3
    assert len(await rows(outcomes, tables.faces)) == 4


async def test_a_split_is_noted_once_by_whoever_sees_it_first(
    open_store: Callable, make: Callable, rows: Callable
) -> None:
    start = datetime.now(UTC)
    async with open_store() as one, open_store() as lagging:
        for split_id, weight in (("few", 1000), ("more", 2000), ("few", 1000)):
            one._writer.note_split(split_id, "race", "a", {"a": 10_000 - weight, "b": weight})
            await one.ready()
        # A replica that reads the file late, or reads the older one again after a restart, changes nothing.
        lagging._writer.note_split("few", "race", "a", {"a": 9000, "b": 1000})
        await lagging.ready()
        noted = await rows(one, tables.splits)
        assert [(row.id, row.weights["b"]) for row in noted] == [("few", 1000), ("more", 2000)]
        assert start < noted[0].first_seen < noted[1].first_seen
        for present, expected in ((None, "more"), ("few", "few"), ("gone", "more")):
            assert (await one.store.split("race", present)).id == expected
        # Back to the older one: without a configuration, use tells.
        await one.store.add([make(split="few", created_at=start + timedelta(hours=1))])
        found = await one.store.split("race")
    assert (found.id, found.control, found.weights) == ("few", "a", {"a": 9000, "b": 1000})
    assert found.first_seen == noted[0].first_seen


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("mysql://u:hunter2@host/db", "mysql is none of sqlite, postgresql"),
        ("postgresql+asyncpg://u:hunter2@host/db", "none of"),
        ("outcomes.db", "not a URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file:outcomes.db?uri=true", "the path of a file"),
        ("postgresql://me:secret@hunter2@host/db", "percent-encode @ : / in user and password"),
        ("postgresql://me:secret@p:hunter2@host/db", "percent-encode @ : / in user and password"),
        ("postgresql://me/you:hunter2@host/db", "percent-encode @ : / in user and password"),
    ],
)
def test_a_database_that_we_cannot_use_is_refused(wrong: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_url(wrong)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_any_password_can_be_given() -> None:
    url = parse_url("postgresql://me%40work:%40%3A%2F%3F@[::1]:5433/db?sslmode=require")
    assert (url.username, url.password, url.host, url.port, url.database) == ("me@work", "@:/?", "::1", 5433, "db")


async def test_a_file_is_its_owners_alone(tmp_path: Path, open_store: Callable) -> None:
    file = tmp_path / "new" / "outcomes.db"
    before = os.umask(0o022)
    try:
        async with open_store(database_url=f"sqlite:///{file}") as outcomes:
            await outcomes.ready()
            modes = {path.name: path.stat().st_mode & 0o777 for path in (file.parent, *file.parent.iterdir())}
    finally:
        os.umask(before)
    assert modes.pop("new") == 0o700
    assert {"outcomes.db", "outcomes.db-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_a_server_that_vanishes_is_noticed(postgres: Any) -> None:
    engine = open_sync_engine(parse_url(postgres.create_database()))
    with engine.connect() as connection:
        given = connection.connection.dbapi_connection.info.get_parameters()
    engine.dispose()
    assert (given["keepalives_idle"], given["keepalives_interval"], given["keepalives_count"]) == ("10", "5", "3")
    assert given["tcp_user_timeout"] == "15000"


async def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(
    outcomes: Outcomes, make: Callable, rows: Callable, value: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    # SQLite takes no integer over 63 bits, PostgreSQL neither.
    poison = make(version=2**70)
    good = make()
    outcomes.record(poison)
    outcomes.record(good)
    await outcomes._writer.settled(good.id)
    assert [row.id for row in await rows(outcomes, tables.predictions)] == [good.id]
    assert value("emotion_outcomes_lost_total", reason="refused") == 1
    assert value("emotion_outcomes_written_total") == 1
    assert poison.id in caplog.text
    assert isinstance(poison.faces[0], FaceRecord)
