"""A subject is forgotten, and nothing else."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.outcomes import tables
from api.outcomes.feedback import take_feedback
from api.outcomes.subjects import erase
from api.outcomes.writer import OutcomeWriter

SECRET = "s" * 16


async def test_what_is_stored_and_what_waits_is_deleted(
    outcomes: OutcomeWriter, make: Callable, rows: Callable
) -> None:
    await outcomes.ready()
    for subject in ("anna", "bert", None, "anna"):
        outcomes.record(made := make("happy", "sad", subject=subject))
    await take_feedback(outcomes, made.id, 0, emotion="sad", correct=None)
    outcomes.record(make("happy", subject="anna"))
    assert await erase(outcomes, "anna") == 3
    assert await erase(outcomes, "anna") == 0
    left = await rows(outcomes, tables.predictions)
    assert [row.subject for row in left] == [outcomes.hash("bert"), None]
    assert len(await rows(outcomes, tables.faces)) == 4
    assert await rows(outcomes, tables.feedback) == []


async def test_over_http(gateway: Any, make: Callable) -> None:
    client, outcomes = gateway
    outcomes.record(make("happy", subject="Zoë"))
    named = {"X-Subject-ID": "Zoë".encode()}
    erased = await client.delete("/v1/outcomes", headers=named)
    assert (erased.status_code, erased.json()) == (200, {"predictions": 1})
    for headers, status in (({}, 422), ({"X-Subject-ID": b""}, 422), ({"X-Subject-ID": b"\xff"}, 422)):
        assert (await client.delete("/v1/outcomes", headers=headers)).status_code == status
    assert (await client.delete("/v1/outcomes", headers={**named, "X-Admin-Key": "no"})).status_code == 401


async def test_from_the_command_line(
    outcomes: OutcomeWriter, make: Callable, database_url: str, tmp_path: Path
) -> None:
    await outcomes.ready()
    outcomes.record(one := make("happy", subject="anna"))
    await outcomes.written(one.id)

    async def run(**environment: str) -> subprocess.CompletedProcess[str]:
        # In a thread: a stopped event loop would hold open what the writer of this process has begun.
        command = [sys.executable, "-m", "api.outcomes", "erase", "--subject", "anna"]
        variables = {**os.environ, "EMOTION_DATABASE_URL": database_url, **environment}
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False, env=variables
        )

    refused = await run()
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "EMOTION_SUBJECT_SECRET" in refused.stderr
    other = await run(EMOTION_SUBJECT_SECRET="another" * 3)
    assert other.stdout == "predictions deleted: 0\n", other.stderr
    own = await run(EMOTION_SUBJECT_SECRET=SECRET)
    assert own.stdout == "predictions deleted: 1\n", own.stderr
    wrong = await run(EMOTION_SUBJECT_SECRET=SECRET, EMOTION_DATABASE_URL=f"sqlite:///{tmp_path}/another.db")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
