"""`python -m serving` as a process: start, health, signals, and the errors a person sees."""

import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.serving.conftest import AVAILABLE, DEADLINE, Client, Repository, Running, rpc_error

START_SECONDS = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """spawn(*flags) starts `python -m serving`; whatever still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "serving", "--host=127.0.0.1", *flags]
        with (tmp_path / "stderr").open("w") as stderr:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    assert readable, "the server did not become ready in time"
    line = process.stdout.readline()
    match = re.fullmatch(r"serving on 127\.0\.0\.1:(\d+)\n", line)
    assert match, f"unexpected first line {line!r}"
    return int(match[1])


def call_for_ever(client: Client) -> NoReturn:
    while True:
        client.states()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_the_call_in_flight_finish(spawn: Spawn, repository: Repository, number: int) -> None:
    repository.add(1)
    process = spawn(
        f"--model_base_path={repository.root / 'faces'}",
        "--model_name=faces",
        "--port=0",
        "--enable_grpc_healthcheck_service=true",
    )
    with grpc.insecure_channel(f"127.0.0.1:{ready_port(process)}") as channel:
        client = Client(channel)
        assert client.states() == {1: AVAILABLE}
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
        assert next(watch).status == SERVING
        slow = client.begin_slow(seconds=2)
        # An answer on the same connection shows that the server has read the slow call, which was sent first.
        client.states()
        process.send_signal(number)
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        with pytest.raises(grpc.RpcError) as refused:
            call_for_ever(client)
        # CANCELLED is what gRPC answers to a call that arrives while the server closes its doors.
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert slow.result().model_spec.version.value == 1
    assert process.wait(DEADLINE) == 0


def test_port_in_use_is_one_line(spawn: Spawn, repository: Repository, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = spawn(f"--model_base_path={repository.root / 'faces'}", f"--port={port}")
        assert process.wait(START_SECONDS) == 1
    assert (tmp_path / "stderr").read_text() == (
        f"python -m serving: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


def test_second_server_on_the_port_is_refused(serve: Callable[..., Running], repository: Repository) -> None:
    repository.add(1)
    running = serve(repository.config())
    with pytest.raises(Exception, match="Address already in use"):
        serve(repository.config(), port=running.server.port)
    assert running.client.answering_version() == 1


def test_config_error_names_file_and_line(spawn: Spawn, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text('model_config_list {\n  config { nme: "x" }\n}\n')
    process = spawn(f"--model_config_file={file}", "--port=0")
    assert process.wait(START_SECONDS) == 1
    last = (tmp_path / "stderr").read_text().splitlines()[-1]
    assert last.startswith(f"python -m serving: {file}:2:")
    assert 'no field named "nme"' in last


def test_bad_flag_is_one_line(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("--model_base_path=/models", "--enable_batching")
    assert process.wait(START_SECONDS) == 2
    assert (tmp_path / "stderr").read_text() == ("python -m serving: unrecognized arguments: --enable_batching\n")


def test_health_of_each_service(serve: Callable[..., Running], repository: Repository) -> None:
    running = serve(repository.config(), enable_grpc_healthcheck_service=True)
    health = health_pb2_grpc.HealthStub(running.client.channel)
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert health.Check(request, timeout=DEADLINE).status == SERVING
    with rpc_error(grpc.StatusCode.NOT_FOUND):
        health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=DEADLINE)


def test_health_service_is_off_by_default(serve: Callable[..., Running], repository: Repository) -> None:
    running = serve(repository.config())
    health = health_pb2_grpc.HealthStub(running.client.channel)
    with rpc_error(grpc.StatusCode.UNIMPLEMENTED):
        health.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
