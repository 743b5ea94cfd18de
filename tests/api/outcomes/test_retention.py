import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from api.outcomes import tables
from api.outcomes.feedback import take_feedback
from api.outcomes.retention import keep_pruning, prune
from api.outcomes.writer import OutcomeWriter


async def test_retention_deletes_what_is_older_with_all_that_belongs_to_it(
    outcomes: OutcomeWriter, make: Callable, rows: Callable, value: Callable, until: Callable
) -> None:
    now = datetime.now(UTC)
    old = make(created_at=now - timedelta(days=90, minutes=1))
    young = make(created_at=now - timedelta(days=89))
    # More than are deleted at once.
    many = [make(created_at=now - timedelta(days=200, seconds=number)) for number in range(600)]
    # The retention job comes by at start-up.
    await until(lambda: value("emotion_retention_last_success_timestamp_seconds") > 0)
    await outcomes.store.add([old, young, *many])
    await take_feedback(outcomes, young.id, 0, emotion="happy", correct=None)
    pruning = asyncio.create_task(keep_pruning(outcomes))
    await until(lambda: value("emotion_outcomes_pruned_total") == 601)
    pruning.cancel()
    assert [row.id for row in await rows(outcomes, tables.predictions)] == [young.id]
    assert len(await rows(outcomes, tables.faces)) == 1
    assert len(await rows(outcomes, tables.feedback)) == 1
    assert await prune(outcomes.store, 90) == 0
    assert await prune(outcomes.store, 88) == 1
