"""Moving a version label on running model servers, and back, without a request by that label failing.

TensorFlow Serving applies labels before it loads versions, so it refuses for ever a list that brings a version and
moves a label to it at once. Hence two reloads: one under which the version loads, and, once it is AVAILABLE and
answers, one that moves the label. models.config is replaced last. Whatever fails before, the servers get back the list
of the file. A process that is killed before leaves the file as it was, and on each server one of the three lists. All
of them serve, and from each the same command goes on.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console

from serving import models_config
from serving.errors import ServingError
from serving.rollout.client import ModelServer, State, available, connect, describe, failure
from serving.rollout.labels import Move, previous_label, require_labels, with_label, with_version
from wire.serving_pb2 import ModelServerConfig
from wire.target import Target

POLL_S = 0.1
PUT_BACK_S = 60  # whatever the user's patience: a server may still be busy with the load that took too long


def move_on_servers(move: Move, addresses: Sequence[str]) -> None:
    """Move a label on the servers at `addresses`; where it was becomes `<label>-previous` and stays loaded.

    Each step is done on all servers before the next begins. A dry run prints the two lists.

    Raises:
        ServingError: models.config cannot be read or written or lacks the model; a server is down, refuses a list or
            does not know the model; the version fails to load, does not answer or is not there in time. Then servers
            and file are as before, or the message names the server that is not.
    """
    with ExitStack() as stack:
        _Steps(move, [stack.enter_context(connect(address)) for address in addresses]).run()


@dataclass(frozen=True)
class _Steps:
    move: Move
    servers: Sequence[ModelServer]

    def run(self) -> None:
        name, label, before, version = self.move.name, self.move.label, self.move.before, self.move.version
        states = [server.states(name) for server in self.servers]
        seen, loaded = {number for known in states for number in known}, set[int]().union(*map(available, states))
        widened = with_version(self.move.config, name, version, seen=seen, loaded=loaded)
        if self.move.dry_run:
            moved = with_label(widened, name, version, label, keep=self._before_is_loaded())
            for number, proto in enumerate((widened, moved), start=1):
                print(f"# step {number}\n{models_config.render(proto)}")
            return
        print(self.move)
        touched: list[ModelServer] = []
        try:
            self._load(widened, touched)
            # Only now: a label can be moved only to what is AVAILABLE, and `<label>-previous` is one as well.
            keep = self._before_is_loaded()
            moved = with_label(widened, name, version, label, keep=keep)
            for server in self.servers:
                server.reload(moved, self.move.timeout_s)
            for server in self.servers:
                require_labels(server, self.move.labels())
                print(f"step 2: {server.name}: {label} answers with version {version}")
            self.move.config.replace(moved)
        except (ServingError, KeyboardInterrupt) as error:
            failures = self._put_back(touched)
            if failures and isinstance(error, ServingError):
                raise ServingError("; ".join([str(error), *failures])) from error
            raise
        print(f"wrote {self.move.config.path}")
        if before in (None, version):
            return
        if keep:
            print(f"version {before} stays loaded as {previous_label(label)}, for rollback")
        else:
            print(f"version {before} is not loaded everywhere, so rollback will not go back to it")

    def _load(self, widened: ModelServerConfig, touched: list[ModelServer]) -> None:
        """Step 1: the version is AVAILABLE and answers."""
        deadline = time.monotonic() + self.move.timeout_s
        for server in self.servers:
            touched.append(server)
            server.reload(widened, max(deadline - time.monotonic(), POLL_S))
        for server in self.servers:
            with Console().status(f"waiting for version {self.move.version} on {server.name}"):
                self._wait(server, deadline)
            # Some broken versions load, and fail at the first request.
            server.answering_version(Target(self.move.name, self.move.version))
            print(f"step 1: {server.name}: version {self.move.version} is AVAILABLE and answers")

    def _wait(self, server: ModelServer, deadline: float) -> None:
        what = f"{server.name}: {self.move.name} version {self.move.version}"
        while self.move.version not in available(states := server.states(self.move.name)):
            found = states.get(self.move.version)
            if found is not None and (reason := failure(found.status)):
                raise ServingError(f"{what} failed to load: {reason}")
            if time.monotonic() > deadline:
                place = f"{self.move.config.entry(self.move.name).base_path}/{self.move.version}"
                state = (
                    f"its state is {State.Name(found.state)}"
                    if found
                    else f"not found; is {place} on the server's disk?"
                )
                late = f"is not AVAILABLE after {self.move.timeout_s:g} s"
                raise ServingError(f"{what} {late}: {state} (it has {describe(states)})")
            time.sleep(POLL_S)

    def _put_back(self, servers: Sequence[ModelServer]) -> list[str]:
        """Give `servers` the list of the file; the reasons of those which did not take it."""
        failures = []
        for server in servers:
            try:
                server.reload(self.move.config.proto, PUT_BACK_S)
                print(f"put back: {server.name} has the models and labels of {self.move.config.path} again")
            except ServingError as error:
                failures.append(f"not put back: {error}")
        return failures

    def _before_is_loaded(self) -> bool:
        return all(self.move.before in available(server.states(self.move.name)) for server in self.servers)
