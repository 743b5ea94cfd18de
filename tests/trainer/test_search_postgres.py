"""A study on a real PostgreSQL server of its own: two processes at once, a dead one among them."""

import multiprocessing
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.search.claim import claim
from trainer.search.study import Plan, create, load, outcomes
from trainer.spec import digest
from trainer.spec_cost import Budget

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))
PLAN = Plan("efficient", TrainConfig(model="random", epochs=4), Budget(max_parameters=10**9), trials=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a throw-away database server on a loopback port."""
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    # The server refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Not below pytest's folder, into which another user may not go.
    folder = Path(subprocess.check_output([*user, "mktemp", "-d", "-p", "/tmp"], text=True).strip())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def program(name: str, *arguments: str) -> None:
        command = [*user, str(PROGRAMS / name), "-D", str(folder / "data"), *arguments]
        log = tmp_path_factory.mktemp("postgres") / "log"
        with log.open("w") as file:
            done = subprocess.run(command, stdout=file, stderr=file, cwd="/", timeout=60, check=False)
        assert done.returncode == 0, log.read_text()

    try:
        program("initdb", "-U", "me", "--auth=trust", "--no-sync")
        program("pg_ctl", "-w", "-o", f"-F -k {folder} -h 127.0.0.1 -p {port}", "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://me:secret@127.0.0.1:{port}/postgres"
        finally:
            program("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def work(barrier: Any, results: Any, location: str, number: int) -> None:
    study, plan = load("race", location, worker=number)
    barrier.wait()
    digests = []
    while claimed := claim(study, plan, location):
        digests.append(digest(claimed.spec))
        claimed.trial.report(0.5, 1)
        study.tell(claimed.trial, 0.5)
    results.put(digests)


def die(location: str) -> None:
    study, plan = load("race", location)
    claim(study, plan, location)
    os.kill(os.getpid(), 9)


def test_two_processes_share_a_study_and_take_up_what_a_third_died_of(server: str) -> None:
    create("race", server, PLAN)
    spawn = multiprocessing.get_context("spawn")
    killed = spawn.Process(target=die, args=(server,))
    killed.start()
    killed.join()
    assert killed.exitcode == -9
    study, _ = load("race", server)
    (lost,) = outcomes(study)
    assert lost.state == "running"

    barrier, results = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=work, args=(barrier, results, server, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    digests = [name for names in found for name in names]
    assert all(found)
    assert len(digests) == len(set(digests)) == 8
    assert digest(lost.spec) in digests
    assert study.trials[lost.number].state == TrialState.FAIL
    assert [outcome.state for outcome in outcomes(study)] == ["complete"] * 8


def test_what_the_database_says_is_one_line_without_the_password(server: str) -> None:
    with pytest.raises(ConfigError, match="no study 'other' in postgresql://me@127") as caught:
        load("other", server)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match='database "absent" does not exist') as caught:
        load("other", server.replace("/postgres", "/absent"))
    assert "secret" not in str(caught.value)
