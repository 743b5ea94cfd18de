"""python -m api.reports."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect
from typer.testing import CliRunner

from api.addresses import parse_url
from api.outcomes.database import open_sync_engine
from api.outcomes.migrate import migrate
from api.reports.__main__ import app as command_line


def run(*arguments: str) -> Any:
    # Wide enough that no cell is wrapped.
    return CliRunner(env={"COLUMNS": "200"}).invoke(command_line, arguments)


async def test_reports_and_retention(
    client: Any,
    fill: Callable,
    make: Callable,
    until: Callable[[Callable[[], bool]], Awaitable[None]],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", database_url)
    # The gateway's own retention job must have come by.
    metrics = client.outcomes.metrics.registry
    await until(lambda: metrics.get_sample_value("emotion_retention_last_success_timestamp_seconds") > 0)
    await fill(client.outcomes, "a", 300, 200, split=client.split)
    await fill(client.outcomes, "b", 300, 210, split=client.split)
    await client.outcomes.store.add([make(created_at=datetime.now(UTC) - timedelta(days=91))])

    shown = await asyncio.to_thread(run, "report", "race")
    assert shown.exit_code == 0, shown.output
    for name in ("race", "a (control)", "residual/1", "300", "66.7%", "70.0%", "12/12/12", "+3.3"):
        assert name in shown.output
    printed = await asyncio.to_thread(run, "report", "race", "--json")
    found = json.loads(printed.output)
    assert (found["experiment"], found["verdict"]) == ("race", "keep running")
    unknown = await asyncio.to_thread(run, "report", "rave")
    assert unknown.exit_code == 1
    assert "race" in unknown.stderr
    assert len(unknown.stderr.splitlines()) == 1
    pruned = await asyncio.to_thread(run, "prune")
    assert pruned.output.split()[-1] == "1"

    await fill(client.outcomes, "a", 400, 200, split=client.split)
    assert (await asyncio.to_thread(run, "report", "race")).exit_code == 3


async def test_a_report_before_anybody_asked(client: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", database_url)
    await client.outcomes.ready()
    shown = await asyncio.to_thread(run, "report", "race")
    assert shown.exit_code == 0, shown.output
    assert "a (control)" in shown.output


def test_wrong_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", "mysql://me:hunter2@host/nowhere")
    failed = run("report", "race")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("EMOTION_DATABASE_URL: ")
    assert "hunter2" not in failed.output


def test_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:9/nowhere")
    failed = run("report", "race")
    assert failed.exit_code == 1
    assert "Connection refused" in failed.stderr or "connection failed" in failed.stderr
    assert "hunter2" not in failed.output
    assert len(failed.stderr.splitlines()) == 1


def test_on_what_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "missing" / "outcomes.db"
    monkeypatch.setenv("EMOTION_DATABASE_URL", f"sqlite:///{file}")
    failed = run("report", "race")
    assert (failed.exit_code, len(failed.stderr.splitlines())) == (2, 1)
    assert str(file) in failed.stderr
    assert not file.parent.exists()

    file.parent.mkdir()
    file.write_text("These are no tables. " * 100)
    failed = run("report", "race")
    assert (failed.exit_code, len(failed.stderr.splitlines())) == (1, 1)
    assert str(file) in failed.stderr


@pytest.mark.parametrize("command", [("report", "race"), ("prune",)])
def test_a_database_without_tables_gets_none(
    database_url: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", database_url)
    engine = open_sync_engine(parse_url(database_url))
    # SQLite makes the file here.
    engine.connect().close()
    failed = run(*command)
    assert (failed.exit_code, len(failed.stderr.splitlines())) == (2, 1)
    assert "python -m api" in failed.stderr
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_tables_of_another_version_are_left_alone(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_DATABASE_URL", database_url)
    url = parse_url(database_url)
    migrate(url)
    engine = open_sync_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'r9999'")
    failed = run("report", "race")
    assert (failed.exit_code, len(failed.stderr.splitlines())) == (2, 1)
    assert "r9999" in failed.stderr
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "r9999"
    engine.dispose()
