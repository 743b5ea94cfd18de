"""experiments.yaml in use, followed while it changes; or no experiments, where the settings name no file."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from api.config_file.watched import WatchedFile
from api.experiments.config import Experiment, ExperimentsConfig, parse
from api.observe.metrics import Metrics


class Experiments:
    """The configuration in use."""

    def __init__(self, path: Path | None, models: Sequence[str], metrics: Metrics) -> None:
        """Read the file; without one there are no experiments.

        Args:
            models: those that variants may name.

        Raises:
            ConfigFileError: the file cannot be read, or is invalid.
        """

        def parsed(content: bytes, path: Path) -> ExperimentsConfig:
            config = parse(content, path, models)
            for experiment in config.experiments:
                # Makes the table of buckets now, so that no request waits for it.
                experiment.variant_of(0)
            return config

        valid = metrics.experiments_config_valid
        valid.set(1)
        self._file = WatchedFile(path, parsed, valid, "experiments") if path else None

    @property
    def current(self) -> ExperimentsConfig:
        """The last valid one."""
        return self._file.current if self._file else ExperimentsConfig()

    @property
    def error(self) -> str | None:
        """Why the file as it is now is not the one in use; None when it is."""
        return self._file.error if self._file else None

    @asynccontextmanager
    async def watched(self, poll_s: float, register: Callable[[Experiment], None]) -> AsyncIterator[None]:
        """Look at the file every `poll_s` seconds for as long as the body runs.

        Args:
            register: is told of each experiment, now and again whenever a file comes into use, before any request can
                take part in it.
        """

        def adopt(config: ExperimentsConfig) -> str:
            for experiment in config.experiments:
                register(experiment)
            return ", ".join(experiment.name for experiment in config.experiments)

        adopt(self.current)
        if self._file is None:
            yield
            return
        async with self._file.watched(poll_s, adopt):
            yield
