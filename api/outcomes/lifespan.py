"""What a gateway opens for its outcomes when it starts, and closes when it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.addresses import parse_url
from api.observe.metrics import Metrics
from api.outcomes.database import open_engine
from api.outcomes.retention import keep_pruning
from api.outcomes.store import OutcomeStore
from api.outcomes.writer import OutcomeWriter
from api.settings import Settings

logger = logging.getLogger(__name__)

# Of each of the three steps of closing.
CLOSE_TIMEOUT_S = 5


@asynccontextmanager
async def open_outcomes(settings: Settings, metrics: Metrics) -> AsyncIterator[OutcomeWriter]:
    """Start the writer and the retention job; at the end write what is left, for a bounded time.

    It opens whether or not the database can be reached.
    """
    engine = open_engine(parse_url(settings.database_url.get_secret_value()))
    outcomes = OutcomeWriter(settings, metrics, OutcomeStore(engine))
    writing = asyncio.create_task(outcomes.run(), name="outcome writer")
    pruning = asyncio.create_task(keep_pruning(outcomes), name="retention")
    try:
        yield outcomes
    finally:
        # Each of them talks to the database, which may have gone silent. To cancel one that waits for it would leave a
        # connection whose thread outlives the event loop.
        outcomes.stop()
        for _ in range(2):
            _, late = await asyncio.wait([writing, pruning], timeout=CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()
        outcomes.give_up()
        disposing = asyncio.create_task(engine.dispose(), name="closing of connections")
        if (await asyncio.wait([disposing], timeout=CLOSE_TIMEOUT_S))[1]:
            disposing.cancel()
            logger.warning("connections to the database are given up: they did not close in time")
