"""Deletes what is past the retention time."""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from api.errors import OutcomesUnavailable
from api.outcomes.store import DATABASE_ERRORS, OutcomeStore
from api.outcomes.writer import OutcomeWriter

logger = logging.getLogger(__name__)

_EVERY_S = 3600


async def prune(store: OutcomeStore, days: int) -> int:
    """Delete predictions older than that, with all that belongs to them; returns how many they were."""
    return await store.prune(datetime.now(UTC) - timedelta(days=days))


async def keep_pruning(outcomes: OutcomeWriter) -> None:
    """Prune at once and every hour, until the writer is told to stop."""
    while not outcomes.stopping.is_set():
        try:
            await outcomes.ready()
            deleted = await prune(outcomes.store, outcomes.settings.retention_days)
            outcomes.metrics.outcomes_pruned.inc(deleted)
            outcomes.metrics.retention_last_success.set_to_current_time()
            logger.info("%d predictions were past the retention time", deleted)
        except (OutcomesUnavailable, *DATABASE_ERRORS) as error:
            if not outcomes.stopping.is_set():
                logger.warning("retention has to wait, because the database fails: %s", type(error).__name__)
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_S):
                await outcomes.stopping.wait()
