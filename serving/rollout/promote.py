"""Moving a version label on running model servers, and back, without a request by that label failing.

TensorFlow Serving applies labels before it loads versions, so a list that brings a version and moves a label to it at
once is refused for ever. Hence two reloads: one under which the version loads, and, once it is AVAILABLE and answers,
one that moves the label. models.config is replaced last. Whatever fails before, the servers get back the list of the
file; a process killed before leaves the file as it was and on each server one of the three lists, all of which serve,
and from which the same command goes on.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from serving.rollout import models_config
from serving.rollout.client import AVAILABLE, ModelServer, ServerError
from serving.rollout.errors import ConfigError, RolloutError
from serving.rollout.models_config import ModelsConfig, ModelServerConfig

RUNNING = Path(".run/models.config")
POLL_S = 0.1
PUT_BACK_S = 60  # whatever the user's patience: a server may still be busy with the load that took too long


@dataclass(frozen=True)
class Target:
    """What to change: `label` of model `name`, on the servers at `addresses`, and in the models.config at `config`.

    Each step is done on all servers before the next begins. `timeout_s`, seconds: for each step.
    """

    name: str
    label: str
    addresses: Sequence[str]
    config: Path
    timeout_s: float = 60


def default_config() -> Path:
    """The models.config of what `make serve` runs from this directory.

    Raises:
        ConfigError: `make serve` has not run here.
    """
    if not RUNNING.exists():
        raise ConfigError(f"{RUNNING} does not exist here: name the servers' models.config with --config")
    return RUNNING


def promote(target: Target, version: int, console: Console, *, dry_run: bool = False) -> None:
    """Move the label to `version`; where it was becomes `<label>-previous` and stays loaded.

    With `dry_run` nothing is sent or written, and the two lists are printed.

    Raises ConfigError (models.config cannot be read, or lacks the model), ServerError (a server is down, refuses a
    list, does not know the model; the version fails to load, does not answer, or is not there in time) or RolloutError
    (the file cannot be written). Then servers and file are as before, or the message names the server that is not.
    """
    with _locked(target.config), ExitStack() as stack:
        config = models_config.read(target.config)
        servers = [stack.enter_context(ModelServer(address)) for address in target.addresses]
        _Move(target, config, servers, version, console).run(dry_run=dry_run)


def rollback(target: Target, console: Console, *, dry_run: bool = False) -> None:
    """Move the label to where it was before the last `promote`; twice returns. Raises as `promote` does."""
    with _locked(target.config), ExitStack() as stack:
        config = models_config.read(target.config)
        version = config.version_before(target.name, target.label)
        servers = [stack.enter_context(ModelServer(address)) for address in target.addresses]
        _Move(target, config, servers, version, console).run(dry_run=dry_run)


@dataclass(frozen=True)
class _Move:
    target: Target
    config: ModelsConfig
    servers: Sequence[ModelServer]
    version: int
    console: Console

    def run(self, *, dry_run: bool) -> None:
        name, label, version = self.target.name, self.target.label, self.version
        before: int | None = self.config.entry(name).version_labels.get(label)
        states = [server.states(name) for server in self.servers]
        seen = {number for known in states for number in known}
        loaded = {number for known in states for number, found in known.items() if found.state == AVAILABLE}
        widened = models_config.with_version(self.config, name, version, seen=seen, loaded=loaded)
        if dry_run:
            moved = models_config.with_label(widened, name, version, label, keep=self._loaded_everywhere(before))
            for step, proto in enumerate((widened, moved), start=1):
                self._print(f"# step {step}\n{models_config.render(proto)}")
            return
        self._print(f"{name}: {label} from {'nowhere' if before is None else f'version {before}'} to version {version}")
        touched: list[ModelServer] = []
        try:
            self._load(widened, touched)
            # A label can be moved only to what is AVAILABLE, and `<label>-previous` is one as well.
            keep = self._loaded_everywhere(before)
            moved = models_config.with_label(widened, name, version, label, keep=keep)
            self._move_label(moved)
            self._write(moved)
        except (RolloutError, KeyboardInterrupt) as error:
            failures = self._put_back(touched)
            if failures and isinstance(error, RolloutError):
                raise RolloutError("; ".join([str(error), *failures])) from error
            raise
        if before is None or before == version:
            return
        if keep:
            self._print(f"version {before} stays loaded as {models_config.previous_label(label)}, for rollback")
        else:
            self._print(f"version {before} is not loaded everywhere, so rollback will not go back to it")

    def _load(self, proto: ModelServerConfig, touched: list[ModelServer]) -> None:
        deadline = time.monotonic() + self.target.timeout_s
        for server in self.servers:
            touched.append(server)
            server.reload(proto, max(deadline - time.monotonic(), POLL_S))
        for server in self.servers:
            with self.console.status(f"waiting for version {self.version} on {server.address}"):
                self._wait(server, deadline)
            # Some broken versions load, and fail at the first request.
            server.answering_version(self.target.name, version=self.version)
            self._print(f"step 1: {server.address}: version {self.version} is AVAILABLE and answers")

    def _wait(self, server: ModelServer, deadline: float) -> None:
        name, version = self.target.name, self.version
        while True:
            states = server.states(name)
            found = states.get(version)
            if found is not None and found.state == AVAILABLE:
                return
            if found is not None and found.error:
                raise ServerError(server.address, f"{name} version {version} failed to load: {found.error}")
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        others = ", ".join(f"{number} {state}" for number, state in sorted(states.items()))
        place = f"{self.config.entry(name).base_path}/{version}"
        raise ServerError(
            server.address,
            f"{name} version {version} is not AVAILABLE after {self.target.timeout_s:g} s: "
            + (f"its state is {found}" if found else f"not found; is {place} on the server's disk?")
            + f" (it has {others})",
        )

    def _move_label(self, proto: ModelServerConfig) -> None:
        name, label = self.target.name, self.target.label
        for server in self.servers:
            server.reload(proto, self.target.timeout_s)
        for server in self.servers:
            answered = server.answering_version(name, label=label)
            if answered != self.version:
                raise ServerError(server.address, f"{name} {label} answers with version {answered}, not {self.version}")
            self._print(f"step 2: {server.address}: {label} answers with version {answered}")

    def _write(self, proto: ModelServerConfig) -> None:
        try:
            models_config.write(self.config, proto)
        except OSError as error:
            raise RolloutError(f"{self.config.path}: cannot be written: {error}") from error
        self._print(f"wrote {self.config.path}")

    def _put_back(self, servers: Sequence[ModelServer]) -> list[str]:
        """Give `servers` the list of the file; the reasons of those which did not take it."""
        failures = []
        for server in servers:
            try:
                server.reload(self.config.proto, PUT_BACK_S)
            except ServerError as error:
                failures.append(f"not put back: {error}")
            else:
                self._print(f"put back: {server.address} has the models and labels of {self.config.path} again")
        return failures

    def _loaded_everywhere(self, version: int | None) -> bool:
        if version is None:
            return False
        found = [server.states(self.target.name).get(version) for server in self.servers]
        return all(state is not None and state.state == AVAILABLE for state in found)

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep a second promotion from reading the file that the first will replace. Raises ConfigError."""
    # The directory, because the file itself is replaced.
    directory = path.resolve().parent
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(f"{path}: another promote or rollback is changing it") from error
    finally:
        os.close(descriptor)
