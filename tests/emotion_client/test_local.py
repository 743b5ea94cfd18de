"""`emotion --local`: a service for as long as a command runs."""

import csv
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.emotion_client.command import EMOTION


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMOTION")}
    # A proxy that is not there: neither the command nor the gateway may ask it for this machine.
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")
    return {**kept, **proxies, "EMOTION_DETECTOR": "mtcnn", "COLUMNS": "160", **more}


@pytest.fixture
def models(repository: Path, tmp_path: Path) -> Path:
    """A repository whose newest version loads."""
    for version in ("1", "2"):
        shutil.copytree(repository / version, tmp_path / "models" / "residual" / version)
    return tmp_path / "models"


def running(folder: Path) -> list[str]:
    """Command lines of processes that were given a file in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={folder}".encode() in path.read_bytes():
                found.append(path.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_it_starts_answers_and_ends(models: Path, one_face: bytes, tmp_path: Path) -> None:
    photo, out = tmp_path / "a.jpg", tmp_path / "out.csv"
    photo.write_bytes(one_face)
    (tmp_path / "tmp").mkdir()
    command = [*EMOTION, "predict", photo, "--csv", out, "--local", "--repository", models]
    variables = environment(TMPDIR=str(tmp_path / "tmp"))
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    [row] = csv.DictReader(out.read_text().splitlines())
    assert row["model"] == "residual"
    # The newest, by a label that no configuration file gave it.
    assert row["version"] == "2"
    assert list((tmp_path / "tmp").iterdir()) == []
    assert running(tmp_path / "tmp") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_behind_when_it_is_told_to_end(
    models: Path, one_face: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out.csv"
    photos.mkdir()
    for index in range(400):
        (photos / f"{index:03}.jpg").write_bytes(one_face)
    (tmp_path / "tmp").mkdir()
    command = [*EMOTION, "predict", photos, "--csv", out, "--local", "--repository", models]
    with subprocess.Popen(command, env=environment(TMPDIR=str(tmp_path / "tmp")), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 100
        while not out.exists() or len(out.read_text().splitlines()) < 3:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert running(tmp_path / "tmp") == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_wrong_repository_is_one_line(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "No such file"), (tmp_path, "has no model")):
        command = [*EMOTION, "models", "--local", "--repository", path]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_gateway_that_does_not_start_says_why(models: Path) -> None:
    command = [*EMOTION, "models", "--local", "--repository", models]
    variables = environment(EMOTION_MODEL_TIMEOUT_S="nothing")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert "the gateway of --local stopped" in done.stderr
    assert "EMOTION_MODEL_TIMEOUT_S" in done.stderr
