"""Keeps up with experiments.yaml while the gateway runs."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from api.experiments.config import ExperimentsConfig, ExperimentsError, parse
from api.observe.metrics import ExperimentMetrics

logger = logging.getLogger(__name__)


class Experiments:
    """The configuration in use.

    current: the last valid one. error: why the file as it is now is not the one in use; None when it is.
    """

    def __init__(self, path: Path | None, models: Sequence[str], metrics: ExperimentMetrics) -> None:
        """Read the file; without one there are no experiments. Raises ExperimentsError.

        models: those that variants may name.
        """
        self._path = path
        self._models = models
        self._metrics = metrics
        self._digest = b""
        self.current = ExperimentsConfig()
        self.error: str | None = None
        if path is not None:
            content = _read(path)
            self._digest = _digest(content)
            self.current = _load(content, path, models)
        metrics.set_config_valid(True)

    @asynccontextmanager
    async def watched(self, poll_s: float) -> AsyncIterator[None]:
        """Look at the file every `poll_s` seconds for as long as the body runs."""
        if self._path is None:
            yield
            return
        task = asyncio.create_task(self._watch(self._path, poll_s))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self, path: Path, poll_s: float) -> None:
        while True:
            await asyncio.sleep(poll_s)
            # In a thread, because a network file system may hang.
            await asyncio.to_thread(self._reload, path)

    def _reload(self, path: Path) -> None:
        # By content: a ConfigMap is swapped by a symlink, which need change neither name nor size, and an editor may
        # keep the time of modification.
        try:
            content = _read(path)
        except ExperimentsError as error:
            # When it comes back, it is to be read even if it is the one that was read last.
            self._digest = b""
            self._keep(str(error))
            return
        digest = _digest(content)
        if digest == self._digest:
            return
        self._digest = digest
        try:
            config = _load(content, path, self._models)
        except ExperimentsError as error:
            self._keep(str(error))
        except Exception as error:
            # Whatever an edit brings about, it must not end the watch.
            logger.exception("unexpected error in %s", path)
            self._keep(f"{path}: unexpected {type(error).__name__}")
        else:
            self.current, self.error = config, None
            self._metrics.set_config_valid(True)
            names = ", ".join(experiment.name for experiment in config.experiments) or "none"
            logger.info("%s: experiments now in use: %s", path, names)

    def _keep(self, error: str) -> None:
        if error != self.error:
            logger.error("the experiments in use stay: %s", error)
        self.error = error
        self._metrics.set_config_valid(False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExperimentsError(path, [f"cannot be read: {error.strerror}"]) from error


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _load(content: bytes, path: Path, models: Sequence[str]) -> ExperimentsConfig:
    config = parse(content, path, models)
    for experiment in config.experiments:
        # Makes the table of buckets now, so that no request waits for it.
        experiment.owner(0)
    return config
