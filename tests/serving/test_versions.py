"""Versions that come, go, and fail while the server runs."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.serving.conftest import (
    AVAILABLE,
    END,
    UNLOADING,
    Repository,
    Running,
    rpc_error,
    wait_for,
    write_warmup,
)

Serve = Callable[..., Running]
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def warmup_request(output: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(output_filter=[output])
    request.inputs["faces"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 48, 48, 1), np.float32)))
    return request


@pytest.mark.parametrize(
    ("policy", "loaded"),
    [
        ("", {3}),
        ("latest { num_versions: 2 }", {2, 3}),
        ("all {}", {1, 2, 3}),
        ("specific { versions: 1 versions: 3 versions: 8 }", {1, 3}),
    ],
)
def test_policy_decides_what_is_loaded(serve: Serve, repository: Repository, policy: str, loaded: set[int]) -> None:
    for version in (1, 2, 3):
        repository.add(version)
    repository.path("notes").mkdir()
    client = serve(repository.config(policy)).client
    assert client.states() == dict.fromkeys(loaded, AVAILABLE)


def test_hot_swap_under_traffic_fails_no_request(serve: Serve, repository: Repository, faces: np.ndarray) -> None:
    repository.add(1, which="first")
    client = serve(repository.config()).client
    expected = {1: repository.scores(faces, "first"), 2: repository.scores(faces, "second")}
    stop = threading.Event()

    def call_until_told() -> list[int]:
        answered = []
        while not stop.is_set():
            response = client.predict({"faces": faces})
            version = response.model_spec.version.value
            np.testing.assert_allclose(tf.make_ndarray(response.outputs["scores"]), expected[version], rtol=1e-5)
            answered.append(version)
        return answered

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call_until_told) for _ in range(4)]
        try:
            wait_for(lambda: client.answering_version() == 1)
            repository.add(2, which="second")
            wait_for(lambda: client.states() == {1: END, 2: AVAILABLE})
        finally:
            stop.set()
        answers = [caller.result() for caller in callers]  # raises what a failed request raised
    for answered in answers:
        assert answered == sorted(answered)
    assert {version for answered in answers for version in answered} == {1, 2}


def test_call_in_flight_finishes_on_the_version_it_began_with(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    running = serve(repository.config())
    client = running.client
    slow = client.begin_slow(seconds=2)
    client.states()  # an answer on the same connection: the server has read the slow call, which was sent first
    repository.add(2)
    wait_for(lambda: client.states() == {1: UNLOADING, 2: AVAILABLE})
    with rpc_error(NOT_FOUND, r"Specific\(faces, 1\)"):
        client.answering_version(version=1)
    assert client.answering_version() == 2
    assert slow.result().model_spec.version.value == 1
    wait_for(lambda: client.states() == {1: END, 2: AVAILABLE})


def test_broken_version_is_reported_and_harms_nobody(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    repository.add(1, model="other")
    client = serve(repository.config(), repository.config(model="other")).client
    repository.path(2).mkdir()
    wait_for(lambda: client.states().get(2) == END)
    broken, working = client.status()
    assert (broken.version, broken.status.error_code) == (2, grpc.StatusCode.NOT_FOUND.value[0])
    assert "Could not find SavedModel" in broken.status.error_message
    assert (working.version, working.state, working.status.error_code) == (1, AVAILABLE, 0)
    assert client.answering_version() == 1
    assert client.answering_version(model="other") == 1


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: (path / "saved_model.pb").write_bytes(b"\x00garbage"), grpc.StatusCode.DATA_LOSS),
        (lambda path: (path / "saved_model.pb").write_bytes(b""), grpc.StatusCode.NOT_FOUND),
        (lambda path: shutil.rmtree(path / "variables"), None),
        (lambda path: (path / "variables" / "variables.data-00000-of-00001").write_bytes(b"short"), None),
    ],
)
def test_damaged_files_fail_the_load(
    serve: Serve, repository: Repository, damage: Callable[[Path], object], code: grpc.StatusCode | None
) -> None:
    damage(repository.add(1))
    client = serve(repository.config()).client
    [entry] = client.status()
    assert entry.state == END
    assert entry.status.error_message
    assert entry.status.error_code == code.value[0] if code else entry.status.error_code > 0
    with rpc_error(NOT_FOUND, r"Latest\(faces\)"):
        client.answering_version()


def test_half_written_version_loads_once_it_is_complete(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    client = serve(repository.config()).client
    half = repository.path(2)
    shutil.copytree(repository.prepared["second"], half, ignore=shutil.ignore_patterns("variables"))
    wait_for(lambda: client.states().get(2) == END)
    shutil.copytree(repository.prepared["second"] / "variables", half / "variables")
    wait_for(lambda: client.states() == {2: AVAILABLE, 1: END})
    assert client.status(version=2)[0].status.error_code == 0


def test_failed_version_is_not_loaded_again_while_its_files_stay_the_same(
    serve: Serve, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    repository.path(1).mkdir()
    running = serve(repository.config(), file_system_poll_wait_seconds=0)
    for _ in range(3):
        running.server.manager.sync()
    assert sum(message.startswith("failed to load faces version 1: NOT_FOUND") for message in caplog.messages) == 1


def test_warm_up_runs_before_available(serve: Serve, repository: Repository, caplog: pytest.LogCaptureFixture) -> None:
    write_warmup(repository.add(1), warmup_request("scores"), warmup_request("classes"))
    with caplog.at_level("INFO", logger="serving"):
        client = serve(repository.config()).client
    assert client.states() == {1: AVAILABLE}
    assert any(message.endswith("warm-up requests: 2") for message in caplog.messages)


def test_failing_warm_up_fails_the_load(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    client = serve(repository.config()).client
    hidden = repository.path(".2.partial")
    shutil.copytree(repository.prepared["second"], hidden)
    write_warmup(hidden, warmup_request("scores"), warmup_request("logits"))
    hidden.rename(repository.path(2))
    wait_for(lambda: client.states().get(2) == END)
    failed = client.status(version=2)[0].status
    assert failed.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "warm-up record 2 of" in failed.error_message
    assert "logits" in failed.error_message
    assert client.answering_version() == 1


def test_warm_up_file_that_is_no_tfrecord_fails_the_load(serve: Serve, repository: Repository) -> None:
    path = repository.add(1)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a TFRecord file at all")
    [entry] = serve(repository.config()).client.status()
    assert (entry.state, entry.status.error_code) == (END, grpc.StatusCode.DATA_LOSS.value[0])


def test_removed_versions_unload(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    repository.add(2)
    client = serve(repository.config("all {}")).client
    shutil.rmtree(repository.path(2))
    wait_for(lambda: client.states() == {1: AVAILABLE, 2: END})
    assert client.answering_version() == 1
    shutil.rmtree(repository.path(1))
    wait_for(lambda: client.states() == {1: END, 2: END})
    with rpc_error(NOT_FOUND, r"Latest\(faces\)"):
        client.answering_version()
    repository.add(2)
    wait_for(lambda: client.states() == {1: END, 2: AVAILABLE})


def test_base_path_that_disappears_unloads_nothing(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    running = serve(repository.config(), file_system_poll_wait_seconds=0)
    (repository.root / "faces").rename(repository.root / "elsewhere")
    running.server.manager.sync()
    assert running.client.answering_version() == 1


def test_model_without_versions_is_served_once_one_arrives(serve: Serve, repository: Repository) -> None:
    client = serve(repository.config()).client
    with rpc_error(NOT_FOUND, "Could not find any versions of model faces"):
        client.status()
    repository.add(1)

    def served() -> bool:
        try:
            return client.states() == {1: AVAILABLE}
        except grpc.RpcError:
            return False

    wait_for(served)
