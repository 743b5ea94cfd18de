"""Dockerfile.api's own steps, carried out in a folder, and the gateway that comes of them beside a model server."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.model_server_process import ModelServer
from tests.deploy.dockerfiles import ROOT, Build, stages
from tests.ports import free_port

# Of packages, without their bytecode; 289 today, and room for newer releases.
LIMIT_MB = 315

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(sys.platform != "linux", reason="the steps are Linux's"),
    pytest.mark.skipif(shutil.which("strip") is None, reason="no strip: apt-get install binutils"),
]


def others_may_run(program: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def makes_venvs(program: Path) -> bool:
    asked = [program, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
    return program.exists() and subprocess.run(asked, capture_output=True, check=False).returncode == 0


# Root can be the image's user, where that one can reach an interpreter; Debian's is often the only one.
OWN, DEBIANS = Path(sys.executable).resolve(), Path("/usr/bin/python3")
PYTHON = next((one for one in (OWN, DEBIANS) if makes_venvs(one) and others_may_run(one.resolve())), OWN)
USER = 10001 if os.geteuid() == 0 and others_may_run(PYTHON.resolve()) else None


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    """The build stage, done; and /data as the final stage makes it."""
    # Not below pytest's folder, into which another user may not go.
    with tempfile.TemporaryDirectory() as folder:
        asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=0", "--timeout=15"]
        reached = subprocess.run([*asked, "--dest", folder, "mdurl"], capture_output=True, check=False, timeout=300)
        if reached.returncode:
            pytest.skip("the package index cannot be reached")
        root = Path(folder).resolve() / "root"
        root.mkdir()
        Path(folder).chmod(0o755)
        # The index of packages is all that can be relied on here; YuNet's file is not in it.
        build = Build(root, PYTHON, {"DETECTOR": "mtcnn"})
        build.carry_out(stages("Dockerfile.api")[0])
        (root / "data").mkdir(mode=0o700)
        if USER:
            os.chown(root / "data", USER, USER)
        yield build


@pytest.fixture(scope="module")
def environment(build: Build) -> dict[str, str]:
    """The final stage's, on a free port."""
    image = stages("Dockerfile.api")[-1].environment
    assert image["PATH"].endswith(":$PATH")
    given = {key: build.local(value).replace("$PATH", os.environ["PATH"]) for key, value in image.items()}
    return {**given, "EMOTION_PORT": str(free_port())}


@pytest.fixture
def model_server(tmp_path: Path) -> Iterator[str]:
    """Address of `python -m serving` on the models that the image of the model server holds."""
    text = (ROOT / "serving" / "models.config").read_text().replace('"/models/', f'"{ROOT}/model_repository/')
    config = tmp_path / "models.config"
    config.write_text(text)
    server = ModelServer(f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true")
    try:
        yield server.address
    finally:
        server.stop()


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd="/", user=USER, group=USER, extra_groups=[] if USER else None,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def site_packages(build: Build) -> Path:
    [path] = (build.root / "opt" / "venv" / "lib").glob("python3*/site-packages")
    return path


def test_everything_that_is_needed_is_installed_and_no_training_library(build: Build) -> None:
    check = [build.root / "opt/build/bin/pip", "--python", build.root / "opt/venv/bin/python", "check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    names = {path.name for path in site_packages(build).iterdir()}
    assert {"api", "cv2", "numpy"} <= names
    assert not names & {"tensorflow", "keras", "tensorflow_serving", "torch", "pip", "serving", "trainer"}


def test_it_stays_small(build: Build) -> None:
    kilobytes = int(subprocess.check_output(["du", "-sk", site_packages(build)], text=True).split()[0])
    assert kilobytes < LIMIT_MB * 1024


def test_no_module_of_a_start_is_compiled_again(build: Build, environment: dict[str, str]) -> None:
    # Layers of an image give files times of their own.
    os.utime(site_packages(build) / "api" / "app.py", (0, 0))
    done = run(["python", "-v", "-c", "import api.__main__"], environment)
    assert done.returncode == 0, done.stderr
    assert re.search(r"code object from '\S+/api/app\.\S+\.pyc'", done.stderr)
    # Python quotes the path when the code is from a file of bytecode.
    assert re.findall(r"code object from ([^'\n]+)$", done.stderr, re.MULTILINE) == []


def test_it_serves_as_another_user_that_may_write_nothing_but_data(
    build: Build, environment: dict[str, str], model_server: str
) -> None:
    image = stages("Dockerfile.api")[-1]
    url = f"http://127.0.0.1:{environment['EMOTION_PORT']}"
    before = set(build.root.rglob("*"))
    healthcheck = image.command("HEALTHCHECK")
    assert run(healthcheck, environment).returncode != 0
    with subprocess.Popen(
        image.command("CMD"), env={**environment, "EMOTION_MODEL_SERVER": model_server}, cwd="/",
        user=USER, group=USER, extra_groups=[] if USER else None, stderr=subprocess.PIPE, text=True,
    ) as gateway:  # fmt: skip
        try:
            wait_until_ready(url, gateway)
            assert run(healthcheck, environment).returncode == 0
            photo = (ROOT / "api" / "samples" / "two.jpg").read_bytes()
            answer = httpx.post(f"{url}/predict", content=photo, headers={"Content-Type": "image/jpeg"}, timeout=60)
            assert len(answer.json()["faces"]) == 2
            gateway.send_signal(signal.SIGTERM)
            _, errors = gateway.communicate(timeout=60)
            assert gateway.returncode == 0, errors
            assert "Traceback" not in errors
        finally:
            gateway.kill()
    outcomes = build.root / "data" / "outcomes.db"
    assert outcomes.stat().st_uid == (USER or os.geteuid())
    written = set(build.root.rglob("*")) - before
    assert {path.parent for path in written} == {outcomes.parent}


def wait_until_ready(url: str, gateway: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while gateway.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    gateway.kill()
    pytest.fail(f"not ready: {gateway.communicate()[1]}")
