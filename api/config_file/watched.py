"""Keeps up with a file while the gateway runs: a valid edit is taken up, an invalid one leaves the last valid one."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from prometheus_client import Gauge

from api.config_file.document import ConfigFileError

logger = logging.getLogger(__name__)

Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """What a file says, as far as it is valid.

    Args:
        parse: makes something of the bytes; raises ConfigFileError. May take time: it runs in a thread.
        valid: is 1 while the file as it is now is the one in use.
        holds: what the file holds, for the log: `experiments`, `keys`.

    Raises:
        ConfigFileError: the file cannot be read, or is invalid.
    """

    # The last valid one.
    current: Content
    # Why the file as it is now is not the one in use; None when it is.
    error: str | None = None

    def __init__(self, path: Path, parse: Callable[[bytes, Path], Content], valid: Gauge, holds: str) -> None:
        self._path = path
        self._parse = parse
        self._valid = valid
        self._holds = holds
        self._digest = b""
        first = self._changed()
        assert first is not None
        self.current = first
        valid.set(1)

    @asynccontextmanager
    async def watched(self, poll_s: float, adopt: Callable[[Content], str]) -> AsyncIterator[None]:
        """Look at the file every `poll_s` seconds for as long as the body runs.

        Args:
            adopt: is told of what comes into use before it does; names it, for the log.
        """
        task = asyncio.create_task(self._watch(poll_s, adopt))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self, poll_s: float, adopt: Callable[[Content], str]) -> None:
        while True:
            await asyncio.sleep(poll_s)
            try:
                # In a thread, because a network file system may hang.
                content = await asyncio.to_thread(self._changed)
            except ConfigFileError as error:
                self._keep(str(error))
            except Exception as error:
                # Whatever an edit brings about, it must not end the watch.
                logger.exception("unexpected error in %s", self._path)
                self._keep(f"{self._path}: unexpected {type(error).__name__}")
            else:
                if content is not None:
                    names = adopt(content)
                    self.current, self.error = content, None
                    self._valid.set(1)
                    logger.info("%s: %s now in use: %s", self._path, self._holds, names or "none")

    def _keep(self, error: str) -> None:
        if error != self.error:
            logger.error("the %s in use stay: %s", self._holds, error)
        self.error = error
        self._valid.set(0)

    def _changed(self) -> Content | None:
        """What the file says, if it is another one than at the last look. Raises ConfigFileError."""
        # By content: a ConfigMap is swapped by a symlink, which need change neither name nor size, and an editor may
        # keep the time of modification.
        before, self._digest = self._digest, b""
        try:
            content = self._path.read_bytes()
        except OSError as error:
            # When it comes back, it is to be read even if it is the one that was read last.
            raise ConfigFileError(self._path, [f"cannot be read: {error.strerror}"]) from error
        self._digest = hashlib.sha256(content).digest()
        return None if self._digest == before else self._parse(content, self._path)
