"""`feed: device`, where PyTorch is installed. On a processor it takes the same steps as on a GPU, slowly."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

AUGMENT = {"rotation": 2, "mixup": 0.1, "blur": 0.1, "jpeg": 0.1, "noise": 0.02}

ENVIRONMENT = {**os.environ, "KERAS_BACKEND": "torch", "COLUMNS": "200"}


def command(config: Path, data: Path, out: Path, *options: str) -> list[str]:
    named = ["--config", str(config), "--data", str(data), "--out", str(out)]
    return [sys.executable, "-m", "trainer", "train", "x", *named, *options]


def train(config: Path, data: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(config, data, out, *options),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def config(quick_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick training as `feed: device` takes it: without dropout, and with views to draw."""
    quick = yaml.safe_load(quick_config.read_text())
    for module in quick["model_args"]["spec"]["modules"]:
        module["dropout"] = 0
    quick["augment"] |= AUGMENT
    path = tmp_path_factory.mktemp("config") / "device.yaml"
    path.write_text(yaml.safe_dump(quick | {"feed": "device"}))
    return path


@pytest.fixture(scope="module")
def run(config: Path, fer_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = train(config, fer_csv, out)
    assert done.returncode == 0, done.stderr
    return out


def test_it_learns(run: Path) -> None:
    losses = [float(row["loss"]) for row in rows(run)]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert json.loads((run / "metrics.json").read_text())["PublicTest"]["accuracy"] > 0.3


def test_it_goes_on_after_a_kill(config: Path, fer_csv: Path, tmp_path: Path) -> None:
    killed = subprocess.Popen(
        command(config, fer_csv, tmp_path), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not (tmp_path / "log.csv").exists() or len(rows(tmp_path)) < 2:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    done = train(config, fer_csv, tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert [row["epoch"] for row in rows(tmp_path)] == [str(epoch) for epoch in range(1, 7)]


def test_dropout_is_refused(config: Path, fer_csv: Path, tmp_path: Path) -> None:
    dropped = tmp_path / "dropout.yaml"
    dropped.write_text(config.read_text().replace("dropout: 0\n", "dropout: 0.2\n"))
    refused = train(dropped, fer_csv, tmp_path / "run")
    assert refused.returncode != 0
    assert "dropout" in refused.stderr
