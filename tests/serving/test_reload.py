"""HandleReloadConfigRequest, labels, and polling of the configuration file."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import model_management_pb2

from serving.errors import ServingError
from tests.serving.conftest import AVAILABLE, DEADLINE, END, Repository, Running, rpc_error, wait_for

Serve = Callable[..., Running]
NOT_AVAILABLE = "Request to assign label to version 2 of model faces, which is not currently available"
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def serve_labelled(serve: Serve, repository: Repository) -> Running:
    """Version 1 of two is loaded and labelled `stable`; new labels may point at unavailable versions."""
    repository.add(1)
    repository.add(2)
    return serve(
        repository.config("specific { versions: 1 }", labels={"stable": 1}),
        allow_version_labels_for_unavailable_models=True,
    )


def test_promotion_in_two_steps(serve: Serve, repository: Repository) -> None:
    client = serve_labelled(serve, repository).client
    both = "specific { versions: 1 versions: 2 }"
    assert client.reload(repository.config(both, labels={"stable": 1})).status.error_code == 0
    assert client.states() == {1: AVAILABLE, 2: AVAILABLE}
    assert client.answering_version(label="stable") == 1
    assert client.reload(repository.config(both, labels={"stable": 2})).status.error_code == 0
    assert client.answering_version(label="stable") == 2


def test_promotion_in_one_step_fails_and_changes_nothing(serve: Serve, repository: Repository) -> None:
    client = serve_labelled(serve, repository).client
    one_step = repository.config("specific { versions: 1 versions: 2 }", labels={"stable": 2})
    for _ in range(2):
        with rpc_error(PRECONDITION, NOT_AVAILABLE):
            client.reload(one_step)
    assert client.states() == {1: AVAILABLE}
    assert client.answering_version(label="stable") == 1


def test_new_label_may_come_with_its_version_where_the_flag_allows(serve: Serve, repository: Repository) -> None:
    client = serve_labelled(serve, repository).client
    client.reload(repository.config("all {}", labels={"stable": 1, "canary": 2}))
    assert client.answering_version(label="canary") == 2
    client.reload(repository.config("all {}", labels={"stable": 1}))
    with rpc_error(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: canary"):
        client.answering_version(label="canary")


def test_label_of_an_unavailable_version_needs_the_flag(serve: Serve, repository: Repository) -> None:
    repository.add(2)
    with pytest.raises(ServingError, match=NOT_AVAILABLE) as error:
        serve(repository.config(labels={"stable": 2}))
    assert error.value.code is PRECONDITION
    client = serve(repository.config()).client
    client.reload(repository.config(labels={"stable": 2}))
    assert client.answering_version(label="stable") == 2


def test_reload_replaces_the_whole_list(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    repository.add(1, model="other")
    client = serve(repository.config()).client
    client.reload(repository.config(model="other"))
    assert client.states("other") == {1: AVAILABLE}
    assert client.states("faces") == {1: END}
    with rpc_error(grpc.StatusCode.NOT_FOUND, r"Latest\(faces\)"):
        client.answering_version()
    client.reload()
    assert client.states("other") == {1: END}
    client.reload(repository.config())
    assert client.answering_version() == 1


def test_version_loads_that_arrived_after_a_reload(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    client = serve(repository.config()).client
    client.reload(repository.config("all {}"))
    repository.add(2)
    wait_for(lambda: client.states() == {1: AVAILABLE, 2: AVAILABLE})


def test_new_model_that_cannot_load_is_an_error(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    repository.path(1, "broken").mkdir(parents=True)
    client = serve(repository.config()).client
    for model, reason in (("broken", "Could not find SavedModel"), ("absent", "cannot look for versions")):
        with rpc_error(grpc.StatusCode.UNKNOWN, rf"1 model\(s\) did not become available: .*{model}.*{reason}"):
            client.reload(repository.config(), repository.config(model=model))
    assert client.answering_version() == 1


def test_invalid_config_leaves_the_old_one(serve: Serve, repository: Repository) -> None:
    repository.add(1)
    client = serve(repository.config()).client
    with rpc_error(grpc.StatusCode.INVALID_ARGUMENT, "absolute path"):
        client.reload('config { name: "faces" base_path: "models/faces" model_platform: "tensorflow" }')
    with rpc_error(grpc.StatusCode.INVALID_ARGUMENT, "model_config_list"):
        client.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=DEADLINE)
    assert client.answering_version() == 1


def test_config_file_is_polled_and_a_bad_one_is_survived(
    serve: Serve, repository: Repository, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository.add(1)
    repository.add(2)
    client = serve(repository.config("specific { versions: 1 }"), model_config_file_poll_wait_seconds=0.05).client
    file = tmp_path / "models.config"
    file.write_text("model_config_list { config { nme: 'x' } }")
    wait_for(lambda: 'no field named "nme"' in caplog.text)
    assert client.answering_version() == 1
    file.write_text(f"model_config_list {{ {repository.config('specific { versions: 2 }')} }}")
    wait_for(lambda: client.states() == {1: END, 2: AVAILABLE})
