"""experiments.yaml is edited, broken, swapped and lost under a running gateway."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api.app import create_app
from api.config_file.document import ConfigFileError
from api.settings import Settings
from tests.api.experiments.conftest import ADMIN, ADMIN_KEY, WriteExperiment, experiment, metric, until

VALID = "emotion_experiments_config_valid"
FAST = {"admin_key": ADMIN_KEY, "experiments_poll_s": 0.02}


async def listed(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/experiments", headers=ADMIN)
    assert response.status_code == 200, response.text
    return response.json()


async def names(client: httpx.AsyncClient) -> list[str]:
    return [one["name"] for one in (await listed(client))["experiments"]]


async def test_an_edit_is_taken_up(open_gateway: Callable, write_experiment: WriteExperiment) -> None:
    async with open_gateway(experiments=write_experiment(), **FAST) as client:
        assert await names(client) == ["trial"]
        write_experiment(name="another")

        async def taken_up() -> bool:
            return await names(client) == ["another"]

        await until(taken_up)
        assert (await listed(client))["error"] is None


async def test_an_invalid_edit_keeps_the_running_one_and_says_so(
    open_gateway: Callable, write_experiment: WriteExperiment, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_gateway(experiments=write_experiment(), **FAST) as client:
        assert await metric(client, VALID) == 1
        path = write_experiment(start="soon")

        async def refused() -> bool:
            return (await listed(client))["error"] is not None

        await until(refused)
        assert (await listed(client))["error"].startswith(f"{path}: experiments[0].start: ")
        assert await names(client) == ["trial"]
        assert await metric(client, VALID) == 0
        messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(messages) == 1
        assert "experiments[0].start" in messages[0]

        # Back to what it was before.
        write_experiment()

        async def cured() -> bool:
            return (await listed(client))["error"] is None

        await until(cured)
        assert await metric(client, VALID) == 1


async def test_a_file_that_is_gone_and_comes_back(open_gateway: Callable, write_experiment: WriteExperiment) -> None:
    path = write_experiment()
    async with open_gateway(experiments=path, **FAST) as client:
        path.unlink()

        async def missed() -> bool:
            return "cannot be read" in ((await listed(client))["error"] or "")

        await until(missed)
        assert await names(client) == ["trial"]
        write_experiment()

        async def found() -> bool:
            return (await listed(client))["error"] is None

        await until(found)


async def test_a_config_map(open_gateway: Callable, tmp_path: Path) -> None:
    """Kubernetes swaps the symlink ..data from one directory to another; the file's own name links through it."""
    for directory, name in (("..1", "first"), ("..2", "other")):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "experiments.yaml").write_text(yaml.safe_dump({"experiments": [experiment(name=name)]}))
    # Same size and same time of modification.
    stat = (tmp_path / "..1" / "experiments.yaml").stat()
    os.utime(tmp_path / "..2" / "experiments.yaml", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "experiments.yaml").symlink_to("..data/experiments.yaml")
    async with open_gateway(experiments=tmp_path / "experiments.yaml", **FAST) as client:
        assert await names(client) == ["first"]
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

        async def swapped() -> bool:
            return await names(client) == ["other"]

        await until(swapped)


async def test_a_bug_does_not_end_the_watch(
    open_gateway: Callable, write_experiment: WriteExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError

    async with open_gateway(experiments=write_experiment(), **FAST) as client:
        with monkeypatch.context() as patched:
            patched.setattr("api.experiments.file.parse", bug)
            write_experiment(name="another")

            async def said() -> bool:
                return "unexpected RuntimeError" in ((await listed(client))["error"] or "")

            await until(said)
        write_experiment(name="third")

        async def taken_up() -> bool:
            return await names(client) == ["third"]

        await until(taken_up)


def test_an_invalid_file_is_refused_at_start_up(write_experiment: WriteExperiment) -> None:
    path = write_experiment(start="soon", colour="red")
    with pytest.raises(ConfigFileError, match="colour"):
        create_app(Settings(experiments=path))
    environment = os.environ | {"EMOTION_EXPERIMENTS": str(path), "EMOTION_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        [str(path), "experiments[0].start"],
        [str(path), "experiments[0].colour"],
    ]


async def test_no_file_no_experiments(open_gateway: Callable) -> None:
    async with open_gateway(**FAST) as client:
        assert await listed(client) == {"experiments": [], "error": None}
        assert await metric(client, VALID) == 1
