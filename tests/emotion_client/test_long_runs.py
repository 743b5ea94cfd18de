"""Long runs of `emotion predict`: the service restarts, the key is withdrawn, the user presses Ctrl-C."""

import csv
import os
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from api.keys.file import entry, new_key
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer
from tests.emotion_client.command import EMOTION
from tests.ports import free_port

PHOTOS = 60


@pytest.fixture
def photos(tmp_path: Path, one_face: bytes) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(PHOTOS):
        (folder / f"{index:03}.jpg").write_bytes(one_face)
    return folder


def begin(url: str, *arguments: object, key: str = "") -> "subprocess.Popen[str]":
    command = [*EMOTION, "predict", *map(str, arguments), "--concurrency", "2"]
    environment = {**os.environ, "EMOTIONCTL_URL": url, **({"EMOTIONCTL_KEY": key} if key else {})}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_rows(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not out.exists() or len(out.read_text().splitlines()) <= count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(out: Path) -> list[str]:
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["problem"] == "" for row in rows)
    return [Path(row["file"]).name for row in rows]


def test_a_service_that_restarts_is_waited_for(model_server: ModelServer, photos: Path, tmp_path: Path) -> None:
    settings = {"model_server": model_server.address, "port": free_port()}
    out = tmp_path / "out.csv"
    with closing(GatewayProcess(tmp_path / "first", **settings)) as first:
        process = begin(first.url, photos, "--csv", out)
        wait_for_rows(out, 5, process)
        first.process.kill()
        first.wait()
    with closing(GatewayProcess(tmp_path / "second", **settings)):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert files(out) == [f"{index:03}.jpg" for index in range(PHOTOS)]


def test_ctrl_c_leaves_what_resume_goes_on_with(model_server: ModelServer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with closing(GatewayProcess(tmp_path / "gateway", model_server=model_server.address)) as gateway:
        process = begin(gateway.url, photos, "--csv", out)
        wait_for_rows(out, 5, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert 5 <= len(files(out)) < PHOTOS
        process = begin(gateway.url, photos, "--csv", out, "--resume")
        assert process.communicate(timeout=120)[1] == ""
        assert process.returncode == 0
    assert files(out) == [f"{index:03}.jpg" for index in range(PHOTOS)]


def test_a_key_that_is_withdrawn_ends_the_run_with_one_line(
    model_server: ModelServer, photos: Path, tmp_path: Path
) -> None:
    keys, out = tmp_path / "keys.yaml", tmp_path / "out.csv"
    first, second = new_key(), new_key()

    def allow(key: str) -> None:
        # Replaced whole, as a Secret is.
        (tmp_path / "next").write_text(
            yaml.safe_dump({"keys": [entry("somebody", key, ["predict"]).model_dump(mode="json", exclude_none=True)]})
        )
        (tmp_path / "next").replace(keys)

    allow(first)
    settings = {"model_server": model_server.address, "keys_file": keys, "keys_poll_s": 0.1}
    with closing(GatewayProcess(tmp_path / "gateway", **settings)) as gateway:
        process = begin(gateway.url, photos, "--csv", out, key=first)
        wait_for_rows(out, 3, process)
        allow(second)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert said.startswith("Unauthorized")
        assert said.count("\n") == 1, said
        assert 3 <= len(files(out)) < PHOTOS
        process = begin(gateway.url, photos, "--csv", out, "--resume", key=second)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert files(out) == [f"{index:03}.jpg" for index in range(PHOTOS)]


@pytest.mark.drill
def test_a_folder_of_five_thousand(model_server: ModelServer, tmp_path: Path) -> None:
    folder, out = tmp_path / "many", tmp_path / "out.csv"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (48, 48), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0000.png")
    for index in range(1, 5_000):
        shutil.copy(folder / "0000.png", folder / f"{index:04}.png")
    (folder / "2500.png").write_bytes(b"no photo")
    with closing(GatewayProcess(tmp_path / "gateway", model_server=model_server.address)) as gateway:
        command = [*EMOTION, "predict", str(folder), "--crop", "none", "--csv", str(out), "--url", gateway.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, "1 of 5000 could not be read")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == [f"{index:04}.png" for index in range(5_000)]
    assert [row["file"] for row in rows if row["problem"]] == [str(folder / "2500.png")]
