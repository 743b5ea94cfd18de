"""`make serve` as its user meets it: real processes, the shipped model, the bundled photos."""

import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.fixture
def root(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath


def test_it_shows_two_faces_and_a_curl_line_that_does_the_same(running, root: Path) -> None:
    emotions = re.findall(r"^ +\d+(?: +\d+){4} +(\w+) +[01]\.\d\d$", running.output, re.M)
    assert len(emotions) == 2, running.output
    [curl] = re.findall(r"^ *(curl -F .*)$", running.output, re.M)
    done = subprocess.run(shlex.split(curl), cwd=root, capture_output=True, text=True, check=True)
    assert [face["emotion"] for face in json.loads(done.stdout)["faces"]] == emotions


def test_the_three_ways_to_send_a_photo_agree(running, root: Path) -> None:
    photo = (root / "api/samples/two.jpg").read_bytes()
    with httpx.Client(base_url=running.url, timeout=30) as client:
        answers = [
            client.post("/v1/predict", files={"file": ("two.jpg", photo)}),
            client.post("/v1/predict", content=photo, headers={"Content-Type": "image/jpeg"}),
            client.post("/v1/predict", json={"image": base64.b64encode(photo).decode()}),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        faces = [answer.json()["faces"] for answer in answers]
        models = client.get("/v1/models").json()
    assert faces[0] == faces[1] == faces[2]
    for face in faces[0]:
        assert list(face["probabilities"]) == CLASSES
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert face["confidence"] == max(face["probabilities"].values()) == face["probabilities"][face["emotion"]]
    assert "residual" in str(models)


def test_a_smiling_portrait_is_happy(running, root: Path) -> None:
    photo = (root / "api/samples/two.jpg").read_bytes()
    answer = httpx.post(f"{running.url}/v1/predict", content=photo, headers={"Content-Type": "image/jpeg"}, timeout=30)
    # Eileen Collins, on the right, beams.
    right = max(answer.json()["faces"], key=lambda face: face["box"]["x"])
    assert right["emotion"] == "happy"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_both_cleanly(demo, stop: signal.Signals) -> None:
    demo.start()
    demo.wait_for("Ctrl-C stops.")
    demo.process.send_signal(stop)
    assert demo.wait() == 0
    assert "Traceback" not in demo.output
    assert "killed" not in demo.output
    for port in (demo.http_port, demo.grpc_port):
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("variable", ["EMOTION_PORT", "MODEL_SERVER_PORT"])
def test_a_port_in_use_is_one_line(demo, variable: str) -> None:
    port = demo.http_port if variable == "EMOTION_PORT" else demo.grpc_port
    with socket.create_server(("127.0.0.1", port)):
        demo.start()
        assert demo.wait() == 1
    assert demo.output == f"make serve: port {port} is in use; choose another with {variable}=...\n"


def test_a_dead_model_server_ends_it_with_one_line(demo, tmp_path: Path) -> None:
    broken = tmp_path / "tensorflow_model_server"
    broken.write_text("#!/bin/sh\necho starting\necho no models here >&2\nexit 3\n")
    broken.chmod(0o755)
    demo.path = f"{tmp_path}{os.pathsep}{demo.path}"
    demo.start()
    assert demo.wait() == 1
    [reason] = [line for line in demo.output.splitlines() if line.startswith("make serve: ")]
    assert reason == ("make serve: the model server stopped with exit status 3: no models here (.run/model-server.log)")


def test_a_wrong_setting_is_shown(demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_MAX_FACES", "0")
    demo.start()
    assert demo.wait() == 1
    assert "make serve: the gateway stopped with exit status 2: EMOTION_MAX_FACES: " in demo.output


def test_an_installed_tensorflow_model_server_is_used(demo, tmp_path: Path) -> None:
    # Stands in for the real binary: takes only flags that it has, and serves by handing them on.
    installed = tmp_path / "tensorflow_model_server"
    flags_file = tmp_path / "flags"
    installed.write_text(f'#!/bin/sh\necho "$@" > {flags_file}\nexec {sys.executable} -m serving "$@"\n')
    installed.chmod(0o755)
    demo.path = f"{tmp_path}{os.pathsep}{demo.path}"
    demo.start()
    demo.wait_for("Ctrl-C stops.")
    flags = flags_file.read_text()
    assert "--host" not in flags
    assert f"--port={demo.grpc_port}" in flags
    [config] = re.findall(r"--model_config_file=(\S+)", flags)
    assert "/models/" not in re.findall(r'base_path: "(.*?)"', Path(config).read_text())[0]
