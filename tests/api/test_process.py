"""python -m api as a process."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def run(**settings: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EMOTION_")}
        environment["EMOTION_DATABASE_URL"] = f"sqlite:///{tmp_path}/outcomes.db"
        environment |= {f"EMOTION_{key.upper()}": value for key, value in settings.items()}
        processes.append(
            subprocess.Popen([sys.executable, "-m", "api"], env=environment, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_and_stops_with_status_0(start: Start, number: signal.Signals) -> None:
    process = start(port="0", log_json="true")
    assert process.stderr
    address = None
    for line in process.stderr:
        if found := re.search(r"http://[\d.]+:\d+", line):
            address = found[0]
        if "startup complete" in line:
            break
    assert address
    response = httpx.get(f"{address}/nowhere%0Aforged", headers={"X-Request-ID": "abc-1"})
    assert (response.status_code, response.headers["x-request-id"]) == (404, "abc-1")
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
    # JSON on request means every line of every logger.
    records = [json.loads(line) for line in errors.splitlines()]
    [access] = [record for record in records if record["logger"] == "api.access"]
    assert (access["request_id"], access["status"]) == ("abc-1", 404)
    assert (access["method"], access["path"]) == ("GET", "/nowhere%0Aforged")
    assert access["duration_ms"] >= 0


def test_libraries_say_nothing_of_their_own_about_what_clients_send(start: Start) -> None:
    process = start(port="0", log_json="true")
    assert process.stderr
    for line in process.stderr:
        if found := re.search(r"http://[\d.]+:\d+", line):
            address = found[0]
        if "startup complete" in line:
            break
    # Of the one OpenCV prints what is wrong, of the other python-multipart logs it.
    cut_bmp = struct.pack("<2sIIIIiiHHI", b"BM", 2278, 0, 1078, 40, 40, 30, 1, 180, 0)[:32]
    assert httpx.post(f"{address}/v1/predict", content=cut_bmp).status_code == 400
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert httpx.post(f"{address}/v1/predict", content=b"--b\r\nName\xf0: 1", headers=form).status_code == 422
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    loggers = {json.loads(line)["logger"] for line in errors.splitlines()}
    assert (
        {"api.access"}
        <= loggers
        <= {
            "api",
            "api.access",
            "api.outcomes.retention",
            "alembic.runtime.migration",
            "uvicorn.error",
        }
    ), errors


def test_port_in_use_is_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(port=str(port))
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.splitlines() == [f"cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_wrong_settings_are_one_line_each(start: Start) -> None:
    process = start(port="high", cpu_workers="0", default_model="residual")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert [line.split(":")[0] for line in errors.splitlines()] == ["EMOTION_PORT", "EMOTION_CPU_WORKERS"]


@pytest.mark.parametrize("folder", ["", "missing", "file"])
def test_a_folder_for_metrics_that_is_none_is_one_line(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / folder) if folder else "")
    process = start(port="0")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    [line] = errors.splitlines()
    assert line.startswith("PROMETHEUS_MULTIPROC_DIR: no files can be made in ")


def test_contradicting_settings_are_one_line(start: Start) -> None:
    process = start(default_model="other")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    models = ["random", "residual", "ensemble"]
    assert errors.splitlines() == [f"EMOTION_DEFAULT_MODEL 'other' is not in EMOTION_MODELS {models}"]


def test_importing_the_gateway_loads_no_tensorflow() -> None:
    script = "import sys, api.app, api.__main__; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"api", "cv2", "grpc"} <= loaded
    assert not loaded & {"tensorflow", "tensorflow_serving", "keras", "trainer", "serving"}


def test_starting_the_gateway_waits_for_no_library_of_reports_and_migrations() -> None:
    script = "import sys, api.app; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"alembic", "typer", "rich"}
