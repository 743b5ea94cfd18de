"""A study on a real PostgreSQL server of its own: two processes at once, a dead one among them."""

import multiprocessing
import os
from typing import Any

import pytest
from optuna.trial import TrialState

from trainer.errors import ConfigError
from trainer.networks.spec import spec_digest
from trainer.networks.spec_cost import Budget
from trainer.search.claim import claim
from trainer.search.plan import Plan
from trainer.search.study import create_study, open_study, outcomes
from trainer.training.config import TrainConfig

PLAN = Plan("efficient", TrainConfig(model="random", epochs=4), Budget(max_parameters=10**9), trials=8)


@pytest.fixture(scope="module")
def server(postgres: Any) -> str:
    """URL of an empty database."""
    return postgres.create_database()


def work(barrier: Any, results: Any, location: str, number: int) -> None:
    study, plan = open_study("race", location, worker=number)
    barrier.wait()
    digests = []
    while claimed := claim(study, plan, location):
        digests.append(spec_digest(claimed.spec))
        claimed.trial.report(0.5, 1)
        study.tell(claimed.trial, 0.5)
    results.put(digests)


def die(location: str) -> None:
    study, plan = open_study("race", location)
    claim(study, plan, location)
    os.kill(os.getpid(), 9)


def test_two_processes_share_a_study_and_take_up_what_a_third_died_of(server: str) -> None:
    create_study("race", server, PLAN)
    spawn = multiprocessing.get_context("spawn")
    killed = spawn.Process(target=die, args=(server,))
    killed.start()
    killed.join()
    assert killed.exitcode == -9
    study, _ = open_study("race", server)
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
    assert spec_digest(lost.spec) in digests
    assert study.trials[lost.number].state == TrialState.FAIL
    assert [outcome.state for outcome in outcomes(study)] == ["complete"] * 8


def test_what_the_database_says_is_one_line_without_the_password(server: str) -> None:
    with pytest.raises(ConfigError, match="no study 'other' in postgresql://me@127") as caught:
        open_study("other", server)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match='database "absent" does not exist') as caught:
        open_study("other", server.rsplit("/", 1)[0] + "/absent")
    assert "secret" not in str(caught.value)
