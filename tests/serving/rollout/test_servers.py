"""`promote` and `rollback` against a real `python -m serving`, and a stand-in where a server has to misbehave."""

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc
from typer.testing import CliRunner

from serving import models_config
from serving.errors import ServingError
from serving.rollout.__main__ import app
from serving.rollout.client import available, connect
from serving.rollout.labels import planned_move
from serving.rollout.servers import move_on_servers
from wire.target import Target

CONFIG = """# Kept.
model_config_list {{
  config {{
    name: "residual"
    base_path: "{repository}/residual"
    model_platform: "tensorflow"
    model_version_policy {{ {policy} }}
    {stable}
  }}
}}
"""
LATEST = "latest { num_versions: 2 }"
STABLE = 'version_labels { key: "stable" value: 1 }'


@dataclass
class Site:
    """A running server, its repository of versions 1 and 2, and its models.config."""

    address: str
    repository: Path
    config: Path

    def promote(self, version: int | None, *others: str, name: str = "residual", timeout_s: float = 60) -> None:
        """Move stable, on this server and others; None rolls back."""
        with planned_move(self.config, name, "stable", version, timeout_s, dry_run=False) as move:
            move_on_servers(move, [self.address, *others])

    def labels(self) -> dict[str, int]:
        """What the file says."""
        return dict(models_config.read(self.config).entry("residual").version_labels)

    def configure(self, policy: str, stable: str = STABLE) -> None:
        self.config.write_text(CONFIG.format(repository=self.repository, policy=policy, stable=stable))
        with connect(self.address) as server:
            server.reload(models_config.read(self.config).proto, 60)

    def answering(self, label: str = "stable") -> int:
        with connect(self.address) as server:
            return server.answering_version(Target("residual", label=label))

    def available(self) -> set[int]:
        with connect(self.address) as server:
            return available(server.states("residual"))

    def snapshot(self) -> tuple[str, int, set[int]]:
        return self.config.read_text(), self.answering(), self.available()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    shipped = pytestconfig.rootpath / "model_repository" / "residual" / "4"
    for version in (1, 2):
        shutil.copytree(shipped, root / "models" / "residual" / str(version))
    config = root / "models.config"
    config.write_text(CONFIG.format(repository=root / "models", policy=LATEST, stable=STABLE))
    flags = ["--port=0", f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true"]
    command = [sys.executable, "-m", "serving", "--host=127.0.0.1", *flags]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert select.select([process.stdout], [], [], 100)[0], "the server did not start"
        port = re.fullmatch(r"serving on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())[1]
        yield Site(f"127.0.0.1:{port}", root / "models", config)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def site(server: Site) -> Site:
    """The server with stable at version 1 and both versions loaded."""
    # Without labels first: stable cannot move to version 1 before that is loaded.
    server.configure(LATEST, stable="")
    server.configure(LATEST)
    return server


@dataclass
class Replica(model_service_pb2_grpc.ModelServiceServicer):
    """A server that says what it is told to; `reloads` is what it was sent."""

    state: int = get_model_status_pb2.ModelVersionStatus.LOADING
    state_error: str = ""
    refusal: str = ""
    address: str = ""
    reloads: list[Any] = field(default_factory=list)
    reloaded: threading.Event = field(default_factory=threading.Event)

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=30)
        status = response.model_version_status.add(version=2, state=self.state).status
        status.error_code, status.error_message = 2 * bool(self.state_error), self.state_error
        return response

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.reloads.append(request.config)
        self.reloaded.set()
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code, response.status.error_message = 3 * bool(self.refusal), self.refusal
        return response


@pytest.fixture
def start() -> Iterator[Callable[[Replica], Replica]]:
    servers: list[grpc.Server] = []

    def run(replica: Replica) -> Replica:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(replica, server)
        replica.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        servers.append(server)
        return replica

    yield run
    for server in servers:
        server.stop(0).wait()


@contextlib.contextmanager
def requests_by_label(site: Site) -> Iterator[list[int | Exception]]:
    """A thread that asks for `stable` all the time; what answered, in order, complete at the end of the block."""
    answers: list[int | Exception] = []
    stop = threading.Event()

    def ask() -> None:
        with connect(site.address) as client:
            while not stop.is_set():
                try:
                    answers.append(client.answering_version(Target("residual", label="stable")))
                except ServingError as error:
                    answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def wait_for_answers(answers: list[Any], count: int = 5) -> None:
    goal, deadline = len(answers) + count, time.monotonic() + 20
    while len(answers) < goal:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Version 2 is loaded beforehand, or unknown to the policy.
@pytest.mark.parametrize("policy", [LATEST, "specific { versions: 1 }"])
def test_no_request_fails_through_promote_rollback_and_rollback(
    site: Site, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.configure(policy)
    with requests_by_label(site) as answers:
        wait_for_answers(answers)
        for version, now, previous in ((2, 2, 1), (None, 1, 2), (None, 2, 1)):
            site.promote(version)
            wait_for_answers(answers)
            assert answers[-1] == now
            assert site.labels() == {"stable": now, "stable-previous": previous}
            assert site.answering("stable-previous") == previous
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert [now for now, before in zip(answers[1:], answers, strict=False) if now != before] == [2, 1, 2]
    assert site.config.read_text().startswith("# Kept.\nmodel_config_list {")
    assert f"step 2: {site.address}: stable answers with version 2\n" in capsys.readouterr().out


def test_what_was_promoted_can_be_promoted_again_and_keeps_its_predecessor(site: Site) -> None:
    for _ in range(2):
        site.promote(2)
    assert site.labels() == {"stable": 2, "stable-previous": 1}


def test_a_version_that_no_server_has_leaves_everything_as_it_was(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    before = site.snapshot()
    with pytest.raises(ServingError) as error:
        site.promote(7, timeout_s=1)
    assert str(error.value) == (
        f"{site.address}: residual version 7 is not AVAILABLE after 1 s: not found; is {site.repository}/residual/7 "
        "on the server's disk? (it has 1 AVAILABLE, 2 AVAILABLE)"
    )
    assert site.snapshot() == before
    assert f"put back: {site.address}" in capsys.readouterr().out


def test_a_version_that_does_not_load_is_reported_at_once(site: Site) -> None:
    site.configure("all { }")
    before = site.snapshot()
    broken = site.repository / "residual" / "3"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    try:
        with pytest.raises(ServingError, match="residual version 3 failed to load: "):
            site.promote(3)
    finally:
        shutil.rmtree(broken)
    assert site.snapshot() == before


def test_a_label_on_a_version_that_is_not_loaded_is_mended_without_a_predecessor(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.configure("specific { versions: 2 }")
    site.promote(2)
    assert site.labels() == {"stable": 2}
    assert "rollback will not go back to it" in capsys.readouterr().out
    with pytest.raises(ServingError, match="residual has no label 'stable-previous': nothing to roll back to"):
        site.promote(None)
    assert (site.answering(), site.available()) == (2, {2})


def test_a_model_that_is_not_served_or_not_listed_is_named(site: Site) -> None:
    with pytest.raises(ServingError, match=r"models\.config: no model 'random'; its models: residual"):
        site.promote(1, name="random")
    site.config.write_text(site.config.read_text().replace('"residual"', '"random"'))
    with pytest.raises(ServingError, match=f"{site.address}: the status of random failed with NOT_FOUND: ") as error:
        site.promote(1, name="random")
    assert error.value.code is grpc.StatusCode.NOT_FOUND


def test_a_server_that_is_down_stops_it_before_anything_is_sent(site: Site, start: Any) -> None:
    before = site.snapshot()
    replica = start(Replica())
    down = "127.0.0.1:1"
    with pytest.raises(ServingError, match=f"{down}: the status of residual failed with UNAVAILABLE: "):
        site.promote(2, replica.address, down)
    assert replica.reloads == []
    assert site.snapshot() == before


# With "specific" the first server loads version 2, and has to unload it again.
@pytest.mark.parametrize(
    ("policy", "replica", "reason"),
    [
        (LATEST, Replica(refusal="no such label"), "the reload failed: no such label"),
        ("specific { versions: 1 }", Replica(state=50, state_error="bad"), "residual version 2 failed to load: bad"),
        (
            LATEST,
            Replica(),
            "residual version 2 is not AVAILABLE after 2 s: its state is LOADING (it has 1 AVAILABLE, ",
        ),
        (LATEST, Replica(state=30), "a prediction by residual, version 2, failed with UNIMPLEMENTED: "),
    ],
)
def test_one_replica_that_cannot_follow_holds_the_others_back(
    site: Site, start: Any, policy: str, replica: Replica, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.configure(policy)
    before = site.snapshot()
    start(replica)
    with pytest.raises(ServingError, match=re.escape(f"{replica.address}: {reason}")):
        site.promote(2, replica.address, timeout_s=2 if policy == LATEST else 60)
    assert site.snapshot() == before
    assert f"put back: {site.address}" in capsys.readouterr().out
    stable = [config.model_config_list.config[0].version_labels["stable"] for config in replica.reloads]
    assert stable == [1, 1]  # step 1 and the way back
    shipped = models_config.read(site.config).proto.SerializeToString(deterministic=True)
    assert replica.reloads[-1].SerializeToString(deterministic=True) == shipped


def test_a_file_that_cannot_be_replaced_puts_the_label_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = site.snapshot()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ServingError, match=r"models\.config: cannot be written: .*No space left"):
        site.promote(2)
    assert "step 2" in capsys.readouterr().out
    assert site.snapshot() == before
    assert [path.name for path in site.config.parent.iterdir() if path.name.startswith(".")] == []


def test_two_at_a_time_are_refused(site: Site) -> None:
    descriptor = os.open(site.config.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ServingError, match="another promote or rollback is changing it"):
            site.promote(2)
    finally:
        os.close(descriptor)


def test_killed_between_the_steps_it_can_be_run_again(site: Site, start: Any, pytestconfig: pytest.Config) -> None:
    site.configure("specific { versions: 1 }")
    text = site.config.read_text()
    slow = start(Replica())  # never has version 2 loaded: the command waits between the steps
    addresses = [f"--server={address}" for address in (site.address, slow.address)]
    command = [sys.executable, "-m", "serving", "promote", "residual", "2", f"--config={site.config}", *addresses]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=pytestconfig.rootpath)
    try:
        assert slow.reloaded.wait(60)  # the second server's turn: the first has taken step 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert site.config.read_text() == text
    assert (site.answering(), site.available()) == (1, {1, 2})
    site.promote(2)
    assert (site.answering(), site.labels()) == (2, {"stable": 2, "stable-previous": 1})


def test_the_commands_dry_and_for_real(site: Site) -> None:
    site.configure("specific { versions: 1 }")
    before = site.snapshot()
    end = ["--server", site.address, "--config", str(site.config)]
    dry = CliRunner().invoke(app, ["promote", "residual", "2", "--dry-run", *end])
    first, second = dry.output.removeprefix("# step 1\n").split("# step 2\n")
    assert re.findall(r"versions: (\d)", first) == re.findall(r"versions: (\d)", second) == ["1", "2"]
    labels = r'key: "(.*)"\s+value: (\d)'
    assert re.findall(labels, first) == [("stable", "1")]
    assert re.findall(labels, second) == [("stable", "2"), ("stable-previous", "1")]
    assert site.snapshot() == before
    assert CliRunner().invoke(app, ["promote", "residual", "2", *end]).exit_code == 0
    assert site.config.read_text() == f"# Kept.\n{second.rstrip()}\n"
    assert CliRunner().invoke(app, ["rollback", "residual", *end]).exit_code == 0
    assert site.answering() == 1


def test_the_file_of_make_serve_is_the_default(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*arguments, "--server", site.address])

    monkeypatch.chdir(tmp_path)
    error = run("promote", "residual", "2").exception
    assert re.search(r"\.run/models\.config does not exist here: .* with --config", str(error))
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "models.config").write_bytes(site.config.read_bytes())
    assert "wrote .run/models.config\n" in run("promote", "residual", "2").output
    assert site.answering() == 2
    assert run("rollback", "residual").exit_code == 0
    assert site.answering() == 1


def test_check_finds_a_label_that_is_elsewhere(site: Site) -> None:
    command = ["check", "--server", site.address, "--config", str(site.config)]
    assert CliRunner().invoke(app, command).output == f"{site.address} answers the labels of models.config\n"
    text = site.config.read_text()
    site.promote(2)
    site.config.write_text(text)
    error = CliRunner().invoke(app, command).exception
    assert str(error) == f"{site.address}: residual stable answers with version 2, not 1"


@pytest.mark.parametrize("places", [[], ["--server=localhost:1", "--overlay=dev"]])
@pytest.mark.parametrize("command", [["promote", "residual", "2"], ["rollback", "residual"], ["check"]])
def test_it_is_either_servers_or_a_cluster(command: list[str], places: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command, *places, f"--config={tmp_path}/models.config"])
    assert done.exit_code == 2
    assert "give either --server or --overlay" in done.output


def test_a_rollout_loads_no_tensorflow(site: Site, pytestconfig: pytest.Config) -> None:
    arguments = ["promote", "residual", "2", f"--server={site.address}", f"--config={site.config}"]
    call = (
        f"import sys; sys.argv[1:] = {arguments}\n"
        "from serving.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end\n"
        "assert not {'tensorflow', 'tensorflow_serving', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, cwd=pytestconfig.rootpath)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.answering() == 2
