"""Keeps up with experiments.yaml while the gateway runs."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from api.experiments.config import Experiment, ExperimentsConfig, ExperimentsError, parse
from api.observe.metrics import Metrics

logger = logging.getLogger(__name__)


class Experiments:
    """The configuration in use."""

    # The last valid one.
    current: ExperimentsConfig
    # Why the file as it is now is not the one in use; None when it is.
    error: str | None = None

    def __init__(self, path: Path | None, models: Sequence[str], metrics: Metrics) -> None:
        """Read the file; without one there are no experiments.

        Args:
            models: those that variants may name.

        Raises:
            ExperimentsError: the file cannot be read, or is invalid.
        """
        self._path = path
        self._models = models
        self._valid = metrics.experiments_config_valid
        self._digest = b""
        self.current = (path and self._changed(path)) or ExperimentsConfig()
        self._valid.set(1)

    @asynccontextmanager
    async def watched(self, poll_s: float, register: Callable[[Experiment], None]) -> AsyncIterator[None]:
        """Look at the file every `poll_s` seconds for as long as the body runs.

        Args:
            register: is told of each experiment, now and again whenever a file comes into use, before any request can
                take part in it.
        """
        for experiment in self.current.experiments:
            register(experiment)
        if self._path is None:
            yield
            return
        task = asyncio.create_task(self._watch(self._path, poll_s, register))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self, path: Path, poll_s: float, register: Callable[[Experiment], None]) -> None:
        while True:
            await asyncio.sleep(poll_s)
            try:
                # In a thread, because a network file system may hang.
                config = await asyncio.to_thread(self._changed, path)
            except ExperimentsError as error:
                self._keep(str(error))
            except Exception as error:
                # Whatever an edit brings about, it must not end the watch.
                logger.exception("unexpected error in %s", path)
                self._keep(f"{path}: unexpected {type(error).__name__}")
            else:
                if config is not None:
                    for experiment in config.experiments:
                        register(experiment)
                    self.current, self.error = config, None
                    self._valid.set(1)
                    names = ", ".join(experiment.name for experiment in config.experiments) or "none"
                    logger.info("%s: experiments now in use: %s", path, names)

    def _keep(self, error: str) -> None:
        if error != self.error:
            logger.error("the experiments in use stay: %s", error)
        self.error = error
        self._valid.set(0)

    def _changed(self, path: Path) -> ExperimentsConfig | None:
        """What the file says, if it is another one than at the last look. Raises ExperimentsError."""
        # By content: a ConfigMap is swapped by a symlink, which need change neither name nor size, and an editor may
        # keep the time of modification.
        before, self._digest = self._digest, b""
        try:
            content = path.read_bytes()
        except OSError as error:
            # When it comes back, it is to be read even if it is the one that was read last.
            raise ExperimentsError(path, [f"cannot be read: {error.strerror}"]) from error
        self._digest = hashlib.sha256(content).digest()
        if self._digest == before:
            return None
        config = parse(content, path, self._models)
        for experiment in config.experiments:
            # Makes the table of buckets now, so that no request waits for it.
            experiment.variant_of(0)
        return config
