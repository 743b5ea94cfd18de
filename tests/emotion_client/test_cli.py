"""`emotion` as a process, against a gateway process and a real model server."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from emotion_client import Client
from emotion_client.cli.rows import COLUMNS
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer
from tests.emotion_client.command import EMOTION
from tests.emotion_client.video.videos import frames, write
from tests.ports import free_port

Emotion = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def gateway(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    settings = {"model_server": model_server.address, "admin_key": "an-admin-key-of-the-test"}
    with closing(GatewayProcess(tmp_path_factory.mktemp("cli"), **settings)) as process:
        yield process


@pytest.fixture
def emotion(gateway: GatewayProcess) -> Emotion:
    def run(
        *arguments: object,
        url: str = gateway.url,
        stdin: bytes | None = None,
        timeout: float = 100,
        errors: str = "strict",
    ) -> "subprocess.CompletedProcess[str]":
        command = [*EMOTION, *map(str, arguments)]
        environment = {**os.environ, "EMOTIONCTL_URL": url, "COLUMNS": "160", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=timeout, check=False)
        return subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(errors=errors), done.stderr.decode()
        )

    return run


@pytest.fixture
def folder(tmp_path: Path, one_face: bytes, two_faces: bytes) -> Path:
    photos = tmp_path / "photos"
    (photos / "below").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(one_face)
    (photos / "below" / "b, c.jpg").write_bytes(two_faces)
    (photos / "broken.jpg").write_bytes(one_face[:50])
    (photos / "notes.txt").write_text("no photo")
    Image.new("L", (80, 60)).save(photos / "empty.png")
    return photos


def rows(text: str) -> list[dict[str, str]]:
    found = list(csv.DictReader(io.StringIO(text)))
    assert all(tuple(row) == COLUMNS for row in found)
    return found


def test_a_folder_becomes_a_csv_and_a_broken_photo_a_row(emotion: Emotion, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = emotion("predict", folder, "--csv", out, "--annotate", tmp_path / "marked")
    assert done.returncode == 1
    assert done.stderr.strip() == "1 of 4 could not be read"
    found = rows(out.read_text())
    assert [(Path(row["file"]).name, row["face"]) for row in found] == [
        ("a.jpg", "0"),
        ("b, c.jpg", "0"),
        ("b, c.jpg", "1"),
        ("broken.jpg", ""),
        ("empty.png", ""),
    ]
    assert found[3]["problem"].startswith("Unreadable image")
    assert [row["problem"] for row in found if row["face"]] == ["", "", ""]
    assert float(found[0]["happy"]) >= 0
    assert found[0]["model"] == "residual"
    pictures = sorted((tmp_path / "marked").iterdir())
    assert len(pictures) == 3
    with Image.open(pictures[0]) as picture:
        assert picture.format == "PNG"


def test_resume_goes_on_behind_what_is_whole(emotion: Emotion, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    (folder / "broken.jpg").unlink()
    assert emotion("predict", folder, "--csv", out).returncode == 0
    whole = out.read_text()
    # In the middle of the second face of the second photo.
    second = whole.index("b, c.jpg", whole.index("b, c.jpg") + 1)
    out.write_text(whole[: second + 30])
    assert emotion("predict", folder, "--csv", out, "--resume").returncode == 0
    assert sorted(out.read_text().splitlines()) == sorted(whole.splitlines())
    # Nothing is left to do, and nothing is asked.
    assert emotion("predict", folder, "--csv", out, "--resume", url="http://127.0.0.1:1").returncode == 0
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    done = emotion("predict", folder, "--csv", tmp_path / "other.csv", "--resume")
    assert (done.returncode, "is not a CSV of this command" in done.stderr) == (1, True)


def test_json_patterns_and_standard_input(emotion: Emotion, folder: Path, one_face: bytes) -> None:
    done = emotion("predict", f"{folder}/**/*.jpg", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(line.get("faces", ())) for line in lines] == [1, 2, 0]
    assert "problem" in lines[2]
    piped = emotion("predict", "-", stdin=one_face)
    assert piped.returncode == 0
    assert "\x1b[" not in piped.stdout
    assert piped.stdout.count("residual") == 0
    assert " at " in piped.stdout


def test_wrong_paths_and_no_service_are_one_line(emotion: Emotion, folder: Path, tmp_path: Path) -> None:
    done = emotion("predict", folder / "nothing.jpg")
    assert (done.returncode, "there is no such file" in done.stderr) == (2, True)
    (tmp_path / "bare").mkdir()
    assert "has no photos" in emotion("predict", tmp_path / "bare").stderr
    url = f"http://127.0.0.1:{free_port()}"
    done = emotion("health", url=url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{url}: cannot be reached")
    assert "`make serve` starts a service" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_odd_names_stay_what_they_are(emotion: Emotion, tmp_path: Path, one_face: bytes) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out.csv"
    photos.mkdir()
    names = sorted([b"caf\xe9.jpg", b"new\nline.jpg", b"[bold]x.jpg", b"=1+1.jpg", "Zoë 😀.jpg".encode()])
    for name in names:
        (photos / os.fsdecode(name)).write_bytes(one_face)
    assert emotion("predict", photos, "--csv", out).returncode == 0
    whole = out.read_bytes()
    assert [name for name in names if name not in whole] == []
    out.write_bytes(whole[:-200])
    assert emotion("predict", photos, "--csv", out, "--resume").returncode == 0
    assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    for style in ((), ("--json",)):
        done = emotion("predict", photos, *style, errors="surrogateescape")
        assert (done.returncode, done.stderr) == (0, "")
        for name in names:
            if b"\n" not in name:
                assert os.fsdecode(name) in done.stdout


def test_pictures_of_one_name_are_all_kept(emotion: Emotion, tmp_path: Path, one_face: bytes) -> None:
    for name in ("a/b.jpg", "a_b.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(one_face)
    assert emotion("predict", tmp_path / "photos", "--annotate", tmp_path / "marked").returncode == 0
    assert len(list((tmp_path / "marked").iterdir())) == 2


def test_what_cannot_be_written_is_one_line(emotion: Emotion, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for option in ("--csv", "--annotate"):
        done = emotion("predict", folder / "a.jpg", option, file / "x")
        assert done.returncode == 1
        assert done.stderr.splitlines() == [f"{file / 'x'}: Not a directory"]
    for url in ("localhost:8000", "ftp://localhost"):
        done = emotion("health", url=url)
        assert (done.returncode, done.stderr.startswith(f"{url}: is no URL of a service")) == (1, True)


def test_nobody_is_waited_for_who_was_never_there(emotion: Emotion, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(2), [0, 33])
    url = f"http://127.0.0.1:{free_port()}"
    for command in (
        ("predict", folder),
        ("compare", folder, "--a", "residual:1", "--b", "residual:2"),
        ("video", tmp_path / "in.mp4"),
    ):
        done = emotion(*command, url=url, timeout=30)
        assert (done.returncode, done.stderr.splitlines()[-1][: len(url)]) == (1, url)


def test_a_wrong_key_ends_the_run_with_one_line(emotion: Emotion, folder: Path) -> None:
    done = emotion("predict", folder, "--key", "wrong")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Unauthorized")


def test_models_health_and_report(emotion: Emotion, gateway: GatewayProcess) -> None:
    assert "residual (default)" in emotion("models").stdout
    assert emotion("health").stdout.startswith(f"{gateway.url} is ready")
    refused = emotion("report", "nothing")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Unauthorized: This takes a key of scope report")


def test_a_report_by_the_command(emotion: Emotion, model_server: ModelServer, tmp_path: Path, one_face: bytes) -> None:
    both = (("old", 1), ("new", 2))
    variants = ", ".join(f"{{name: {name}, model: residual, version: {v}, weight: 1}}" for name, v in both)
    experiments = tmp_path / "experiments.yaml"
    experiments.write_text(
        f"experiments:\n  - {{name: newer, start: 2020-01-01T00:00:00Z, variants: [{variants}]}}\n", encoding="utf-8"
    )
    settings = {"model_server": model_server.address, "admin_key": "an-admin-key-of-the-test"}
    with closing(GatewayProcess(tmp_path / "gateway", experiments=experiments, **settings)) as gateway:
        with Client(gateway.url, key="an-admin-key-of-the-test") as client:
            for subject in range(40):
                with Client(gateway.url, subject=f"{subject}") as asking:
                    found = asking.predict(one_face)
                client.feedback(found.id, correct=subject % 4 > 0)
        done = emotion("report", "newer", "--key", "an-admin-key-of-the-test", url=gateway.url)
    assert done.returncode == 0, done.stderr
    old, new = (re.split(r"\s*│\s*", line)[1:-1] for line in done.stdout.splitlines() if re.match("│ (old|new)", line))
    assert (old[0], new[0]) == ("old (control)", "new")
    assert int(old[2]) + int(new[2]) == int(old[4]) + int(new[4]) == 40
    assert old[1] == "50.0%"
    assert " to " in old[6]
    assert "keep running: " in done.stdout


def test_words_in_vietnamese(emotion: Emotion, folder: Path) -> None:
    done = emotion("predict", folder / "a.jpg", folder / "empty.png", "--lang", "vi")
    assert done.returncode == 0
    assert "khuôn mặt" in done.stdout
    assert "không có" in done.stdout
    assert any(word in done.stdout for word in ("vui vẻ", "buồn bã", "bình thường", "tức giận", "ngạc nhiên", "sợ hãi"))
    assert emotion("predict", folder / "a.jpg", "--lang", "fr").returncode == 2


def test_a_folder_of_faces_that_are_cut_out(emotion: Emotion, tmp_path: Path) -> None:
    for side in (20, 48):
        Image.new("L", (side, side), 99).save(tmp_path / f"{side}.png")
    done = emotion("predict", tmp_path, "--crop", "none", "--json")
    assert [len(json.loads(line)["faces"]) for line in done.stdout.splitlines()] == [1, 1]
    done = emotion("compare", tmp_path, "--a", "residual:1", "--b", "residual:2", "--crop", "none", "--json")
    assert json.loads(done.stdout)["faces"] == 2


def test_a_video_by_the_command(emotion: Emotion, tmp_path: Path) -> None:
    write(tmp_path / "in.mp4", frames(6), [0, 33, 67, 133, 150, 250])
    done = emotion("video", tmp_path / "in.mp4", "-o", tmp_path / "out.mp4", "--csv", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) > 6
    assert (tmp_path / "out.mp4").stat().st_size > 1000
    assert emotion("video", tmp_path / "none.mp4").returncode == 1


def test_two_models_by_the_command(emotion: Emotion, folder: Path) -> None:
    done = emotion("compare", folder, "--a", "residual:1", "--b", "residual:2", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert list(found["problems"]) == [str(folder / "broken.jpg")]


def test_a_closed_pipe_is_no_error_to_read_of(gateway: GatewayProcess, folder: Path) -> None:
    for number in range(20):
        shutil.copy(folder / "a.jpg", folder / f"c{number}.jpg")
    script = f"{shlex.join([*EMOTION, 'predict', str(folder), '--json'])} | head -1"
    environment = {**os.environ, "EMOTIONCTL_URL": gateway.url}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
