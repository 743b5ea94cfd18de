"""The workflow and the scripts that it runs, as far as a machine without Docker can tell."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfiles import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
GATE = ROOT / ".ci" / "run"
SMOKE = ROOT / "scripts" / "smoke.sh"
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text())["jobs"]


def check_schema(file: Path) -> subprocess.CompletedProcess[str]:
    """Against the schema of GitHub's workflows that check-jsonschema brings."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def uncommented(file: Path) -> str:
    return re.sub(r"(?m)(^|\s)#.*$", "", file.read_text())


def make_targets(text: str) -> set[str]:
    return set(re.findall(r"(?m)^([a-z][\w-]*):", text))


def test_the_workflow_is_what_github_takes() -> None:
    done = check_schema(WORKFLOW)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistake_in_a_workflow_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "ci.yml"
    wrong.write_text(WORKFLOW.read_text().replace("runs-on:", "run-on:"))
    assert check_schema(wrong).returncode != 0


def test_jobs_may_read_and_end() -> None:
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {"contents": "read"}
    for job in JOBS.values():
        assert "permissions" not in job
        assert job["timeout-minutes"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", step["uses"])


@pytest.mark.parametrize("file", [GATE, SMOKE], ids=lambda file: file.name)
def test_scripts_are_clean(file: Path) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck: apt-get install shellcheck")
    done = subprocess.run([program, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert os.access(file, os.X_OK)


@pytest.mark.parametrize("file", [WORKFLOW, SMOKE], ids=lambda file: file.name)
def test_every_path_that_it_names_exists(file: Path) -> None:
    folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name != ".git")
    path_of_ours = rf"(?<![\w./$}}-])(?:(?:{folders})/[\w.*/-]+|Makefile|[\w-]+\.(?:yml|toml))"
    named = set(re.findall(path_of_ours, uncommented(file)))
    assert named
    # Smoke writes that one itself.
    for path in named - {"override.yml"}:
        assert list(ROOT.glob(path)), path


def test_every_target_that_is_made_exists() -> None:
    targets = make_targets((ROOT / "Makefile").read_text())
    gate = uncommented(GATE)
    [default] = re.findall(r"set -- (.+)", gate)
    assert default.split() == ["lint", "audit", "test", "drills"]
    matrix = JOBS["gate"]["strategy"]["matrix"]["include"]
    assert [row["target"] for row in matrix] == default.split()
    named = set(re.findall(r"\bmake (\w+)", uncommented(WORKFLOW) + gate)) | set(default.split())
    assert "smoke" in named
    assert named <= targets


def test_the_gate_runs_on_the_python_of_the_images() -> None:
    images = set(re.findall(r"(?m)^FROM python:(\S+?)(?:-slim)?-bookworm", (ROOT / "Dockerfile.api").read_text()))
    assert {JOBS["gate"]["container"]} == {f"python:{version}-bookworm" for version in images}


def test_smoke_without_an_engine_is_one_line(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    docker.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([SMOKE], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "Docker engine" in done.stderr
