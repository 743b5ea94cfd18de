from pathlib import Path

import pytest

from serving.flags import Options, parse

CONFIG = "--model_config_file=models.config"


def test_defaults_are_those_of_tensorflow_model_server() -> None:
    assert parse([CONFIG]) == Options(
        model_config_file=Path("models.config"),
        host="0.0.0.0",
        port=8500,
        model_config_file_poll_wait_seconds=0,
        file_system_poll_wait_seconds=1,
        allow_version_labels_for_unavailable_models=False,
        enable_grpc_healthcheck_service=False,
    )


def test_single_model() -> None:
    options = parse(["--model_base_path=/models/residual", "--model_name=residual", "--port=9000"])
    assert (options.model_name, options.model_base_path, options.port) == (
        "residual",
        "/models/residual",
        9000,
    )
    assert parse(["--model_base_path=/models/residual"]).model_name == "default"


@pytest.mark.parametrize(
    ("written", "value"),
    [("", True), ("=true", True), ("=True", True), ("=1", True), ("=false", False), ("=0", False)],
)
def test_booleans_as_tensorflow_writes_them(written: str, value: bool) -> None:
    options = parse([CONFIG, f"--enable_grpc_healthcheck_service{written}"])
    assert options.enable_grpc_healthcheck_service is value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CONFIG, "--enable_batching=true"], "unrecognized arguments: --enable_batching=true"),
        ([CONFIG, "--mod=x"], "unrecognized arguments: --mod=x"),
        ([CONFIG, "--rest_api_port=8501"], "--rest_api_port is not supported"),
        ([CONFIG, "--port=70000"], "argument --port: expected a port"),
        ([CONFIG, "--port=x"], "argument --port: expected a port"),
        ([CONFIG, "--file_system_poll_wait_seconds=-1"], "expected a whole number of seconds"),
        ([CONFIG, "--enable_grpc_healthcheck_service=maybe"], "expected true or false, got 'maybe'"),
        ([CONFIG, "--model_base_path=/m"], "not allowed with argument --model_config_file"),
        ([CONFIG, "--model_name=x"], "--model_name goes with --model_base_path"),
        (["--model_base_path=/m", "--model_config_file_poll_wait_seconds=1"], "needs --model_config_file"),
        ([], "one of the arguments --model_config_file --model_base_path is required"),
    ],
)
def test_mistake_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert error.startswith("python -m serving: ")
    assert message in error
    assert error.count("\n") == 1
