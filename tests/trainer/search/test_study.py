"""Studies and claims: no architecture twice, none that costs too much, none lost with its worker."""

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from trainer.errors import ConfigError, TrainingError
from trainer.networks.spec import ResidualSpec, Stage, from_json, spec_digest
from trainer.networks.spec_cost import Budget
from trainer.search import claim as claiming
from trainer.search.claim import Claim, claim, requeue
from trainer.search.plan import Plan
from trainer.search.space import SPACES, objection, parameters, sample
from trainer.search.study import bind, create_study, open_storage, open_study, outcomes
from trainer.training.config import CONFIGS, TrainConfig

TRAIN = TrainConfig(model="random", epochs=4)
# Architectures of `small_space`.
CHOICES = 12


def plan(**changes: Any) -> Plan:
    return Plan(**{"space": "efficient", "train": TRAIN, "budget": Budget(), "trials": 6, **changes})


@pytest.fixture
def location(tmp_path: Path) -> str:
    return str(tmp_path / "study.journal")


@pytest.fixture
def small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space so small that samples repeat at once."""

    def small(choose: Any) -> ResidualSpec:
        width = choose("width", (24, 32, 40))
        return ResidualSpec(0, (Stage(width, 1, "basic"),), choose("squeeze", (0, 4, 8, 16)), "relu", 0.0)

    monkeypatch.setitem(claiming.SPACES, "efficient", small)


def claim_all(name: str, location: str, number: int) -> list[str]:
    study, kept = open_study(name, location, worker=number)
    digests = []
    while claimed := claim(study, kept, location):
        digests.append(spec_digest(claimed.spec))
        claimed.trial.report(0.5, 1)
        study.tell(claimed.trial, 0.5)
    return digests


def race(barrier: Any, results: Any, location: str, number: int) -> None:
    barrier.wait()
    results.put(claim_all("race", location, number))


def first(name: str, location: str) -> tuple[optuna.Study, Claim]:
    study, kept = open_study(name, location)
    claimed = claim(study, kept, location)
    assert claimed is not None
    return study, claimed


def test_a_plan_is_stored_with_its_study(location: str) -> None:
    made = plan(sampler="tpe", objective="cross-validation", share=0.5, budget=Budget(1, 2, 3), seed=7)
    create_study("one", location, made)
    assert open_study("one", location)[1] == made
    with pytest.raises(ConfigError, match=r"study 'one' exists in .*study.journal"):
        create_study("one", location, made)


def test_a_creation_that_is_started_again_finds_its_study(location: str) -> None:
    made = plan(share=0.5)
    create_study("one", location, made, exist_ok=True)
    study, _ = first("one", location)
    begun = [trial.number for trial in study.get_trials()]
    assert begun
    create_study("one", location, made, exist_ok=True)
    study, kept = open_study("one", location)
    assert kept == made
    assert [trial.number for trial in study.get_trials()] == begun
    with pytest.raises(ConfigError, match=r"study 'one' exists in .* with another plan: other trials, share$"):
        create_study("one", location, plan(trials=7), exist_ok=True)


def test_a_creation_that_was_killed_halfway_is_completed(location: str) -> None:
    optuna.create_study(storage=open_storage(location), study_name="one", direction="maximize")
    create_study("one", location, plan(), exist_ok=True)
    assert open_study("one", location)[1] == plan()


@pytest.mark.parametrize("content", ['{"a": 1}', "notes", '{"a": 1}\n{"b": 2}\n'])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"notes\.json: exists, and is not a journal of searches"):
        create_study("one", str(path), plan())
    assert path.read_text() == content


def test_a_sample_that_small_faces_would_shrink_to_nothing_is_drawn_again(location: str) -> None:
    train = TRAIN.model_copy(update={"sides": {1: 16, 2: 48}})
    create_study("small", location, plan(space="tutorial", train=train, trials=12))
    claim_all("small", location, 0)
    study, kept = open_study("small", location)
    assert all(objection(outcome.spec, kept.budget, 16) is None for outcome in outcomes(study))
    # Some that whole faces would have allowed were refused for it.
    refused = [trial.user_attrs["rejected"] for trial in study.trials if "rejected" in trial.user_attrs]
    assert any("on a map of side" in reason for reason in refused)


@pytest.mark.usefixtures("small_space")
def test_racing_threads_never_claim_the_same_architecture(location: str) -> None:
    create_study("race", location, plan(trials=CHOICES))
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda n=number: found.append(claim_all("race", location, n))) for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digests = [name for names in found for name in names]
    assert len(found) == 3
    assert len(digests) == len(set(digests)) == CHOICES


def test_racing_processes_never_claim_the_same_architecture(location: str) -> None:
    create_study("race", location, plan(trials=16, budget=Budget(max_macs=30_000_000, max_parameters=10**9)))
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    racers = [spawn.Process(target=race, args=(barrier, results, location, number)) for number in range(2)]
    for racer in racers:
        racer.start()
    found = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    digests = [name for names in found for name in names]
    assert len(digests) == len(set(digests)) == 16
    assert all(found)
    study, _ = open_study("race", location)
    assert all(outcome.macs <= 30_000_000 for outcome in outcomes(study))
    refused = [trial.user_attrs["rejected"] for trial in study.trials if "rejected" in trial.user_attrs]
    assert refused
    assert all("over 30.0 M" in reason or "trained already" in reason for reason in refused)


@pytest.mark.usefixtures("small_space")
def test_a_space_that_is_used_up_ends(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "ATTEMPTS", 80)
    create_study("all", location, plan(trials=CHOICES + 1))
    with pytest.raises(TrainingError, match="80 samples in a row were refused, the last one: trained already"):
        claim_all("all", location, 0)
    assert len(outcomes(open_study("all", location)[0])) == CHOICES


def test_tpe_samples_too(location: str) -> None:
    create_study("tpe", location, plan(sampler="tpe", trials=14))
    assert len(set(claim_all("tpe", location, 0))) == 14


def test_what_a_dead_worker_had_is_trained_again(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_study("stale", location, plan())
    # A process of this machine that is gone, as its start time tells: the process id is in use again.
    monkeypatch.setattr(claiming, "identity", lambda: f"{claiming.machine()}:{os.getpid()}:1")
    study, dead = first("stale", location)
    monkeypatch.undo()
    _, again = first("stale", location)
    assert again.spec == dead.spec
    assert again.trial.number > dead.trial.number
    assert study.trials[dead.trial.number].state == TrialState.FAIL
    # It lives now: the next claim is another one, and only the living one counts.
    _, other = first("stale", location)
    assert other.spec != dead.spec
    assert [outcome.number for outcome in outcomes(study)] == [again.trial.number, other.trial.number]


@pytest.mark.parametrize(("silence", "dead"), [(30, False), (200, True)])
def test_a_worker_of_another_machine_is_dead_when_it_is_silent(
    location: str, monkeypatch: pytest.MonkeyPatch, silence: float, dead: bool
) -> None:
    create_study("far", location, plan())
    monkeypatch.setattr(claiming, "identity", lambda: "elsewhere:1:1")
    _, claimed = first("far", location)
    claimed.trial.set_user_attr("heartbeat", time.time() - silence)
    _, following = first("far", location)
    assert (following.spec == claimed.spec) == dead


@pytest.mark.usefixtures("small_space")
def test_a_worker_that_dies_while_it_claims_loses_nothing(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_study("mid", location, plan(trials=1))
    study, claimed = first("mid", location)
    requeue(study, study.trials[claimed.trial.number])
    # Takes the queued architecture up, and dies before it has written what it is.
    with monkeypatch.context() as patch:
        patch.delattr(claiming, "identity")
        with pytest.raises(NameError):
            first("mid", location)
    assert outcomes(study) == []
    assert claim_all("mid", location, 0) == [spec_digest(claimed.spec)]


@pytest.mark.usefixtures("small_space")
def test_an_architecture_queued_twice_is_trained_once(location: str) -> None:
    create_study("twice", location, plan(trials=1))
    study, claimed = first("twice", location)
    study.enqueue_trial(claimed.trial.params)
    requeue(study, study.trials[claimed.trial.number])
    assert claim_all("twice", location, 0) == [spec_digest(claimed.spec)]


def test_a_record_cut_short_by_a_kill_does_not_spoil_the_journal(location: str) -> None:
    create_study("cut", location, plan(trials=3))
    study, claimed = first("cut", location)
    study.tell(claimed.trial, 0.5)
    with Path(location).open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "gone", "trial_id"')
    assert len(claim_all("cut", location, 0)) == 2
    assert len(outcomes(open_study("cut", location)[0])) == 3
    for line in Path(location).read_text().splitlines():
        json.loads(line)


def test_a_study_stays_with_its_data(location: str) -> None:
    create_study("data", location, plan())
    study, _ = open_study("data", location)
    facts = {"sources": [{"name": "faces.csv"}], "sha256": "a" * 64}
    bind(study, facts)
    bind(open_study("data", location)[0], facts)
    with pytest.raises(ConfigError, match=r"began with other data \(faces\.csv; sha256 aaaaaaaaaaaa, not bbbbbbbbbbbb"):
        bind(study, {**facts, "sha256": "b" * 64})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///study.db", "sqlite: not supported for several workers"),
        ("mysql://me:secret@host/db", "mysql: not supported"),
        ("postgresql://me:secret@127.0.0.1:1/db", "storage: postgresql://me@127.0.0.1:1/db: .*connection"),
    ],
)
def test_storage_that_cannot_serve_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_study_is_named(tmp_path: Path, location: str) -> None:
    with pytest.raises(ConfigError, match=r"no study in .*study\.journal: the file does not exist"):
        open_study("one", location)
    create_study("one", location, plan())
    with pytest.raises(ConfigError, match=r"no study 'two' in .*; there is one"):
        open_study("two", location)
    optuna.create_study(storage=open_storage(location), study_name="foreign")
    with pytest.raises(ConfigError, match=r"'foreign' .* has no plan"):
        open_study("foreign", location)
    with pytest.raises(ConfigError, match="storage: "):
        open_study("one", str(Path(__file__)))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"storage: .*file/study.journal"):
        create_study("one", str(tmp_path / "file" / "study.journal"), plan())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "other"}, "unknown space 'other'"),
        ({"share": 0.0}, "share is 0.0"),
        ({"trials": 0}, "trials 0 must be at least 1"),
        ({"min_epochs": 5}, "min_epochs is 5, but must be from 1 to epochs \\(4\\)"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**changes)


def test_named_architectures_are_trained_first(location: str) -> None:
    first = [from_json(values) for values in yaml.safe_load((CONFIGS / "specs" / "efficient2.yaml").read_text())]
    wide = plan(budget=Budget(90_000_000, 200_000_000, 4_000_000))
    create_study("named", location, wide, enqueue=first)
    create_study("named", location, wide, enqueue=first, exist_ok=True)
    study, kept = open_study("named", location)
    claimed = [claim(study, kept, location) for _ in range(len(first) + 1)]
    assert [one.spec for one in claimed[:-1] if one] == first
    assert claimed[-1] is not None
    assert claimed[-1].spec not in first


@pytest.mark.parametrize("space", ["tutorial", "efficient"])
def test_a_specs_choices_give_the_spec_again(space: str) -> None:
    for seed in range(20):
        spec = sample(space, seed, Budget(0, 10**12, 10**12))
        choices = parameters(space, spec)
        assert SPACES[space](lambda name, _, known=choices: known[name]) == spec


def test_what_a_space_cannot_give_is_not_enqueued(location: str) -> None:
    odd = ResidualSpec(16, (Stage(56, 1, "basic"), Stage(96, 1, "basic"), Stage(192, 1, "basic")), 8, "relu", 0.0)
    with pytest.raises(ConfigError, match=r"stage0\.width is 56, not one of 24, 32, 48, 64"):
        create_study("odd", location, plan(), enqueue=[odd])
    mixed = ResidualSpec(
        16, (Stage(48, 1, "basic"), Stage(96, 1, "bottleneck"), Stage(192, 1, "basic")), 8, "relu", 0.0
    )
    with pytest.raises(ConfigError, match="cannot give this spec"):
        create_study("odd", location, plan(), enqueue=[mixed])
    with pytest.raises(ConfigError, match="a spec of another space"):
        create_study("odd", location, plan(space="tutorial"), enqueue=[odd])
    dear = ResidualSpec(24, (Stage(64, 2, "basic"), Stage(128, 3, "basic"), Stage(256, 3, "basic")), 8, "relu", 0.0)
    with pytest.raises(ConfigError, match=r"enqueue: .* over"):
        create_study("odd", location, plan(), enqueue=[dear])
