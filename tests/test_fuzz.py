"""A bounded campaign of each target; benchmarks/fuzz.py runs long ones."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fuzz


@pytest.mark.drill
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_mutated_input_has_documented_answers_alone(target: str) -> None:
    record = fuzz.run_campaign(target, 2000, seed=7)
    assert record.findings == []
    assert sum(record.outcomes.values()) == 2000
    # Where all is refused at the door, nothing behind it was tried.
    assert len(record.outcomes) > 1


@pytest.fixture
def broken_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[fuzz.Run], None]:
    monkeypatch.setattr(fuzz, "FAILED", tmp_path)
    monkeypatch.setattr(fuzz, "ROOT", tmp_path)

    def use(run: fuzz.Run) -> None:
        async def target(stack: object) -> fuzz.Fuzzed:
            return fuzz.Fuzzed([b"seed"], [], run)

        monkeypatch.setitem(fuzz.TARGETS, "images", target)

    return use


async def test_a_finding_is_kept(broken_target: Callable[[fuzz.Run], None], tmp_path: Path) -> None:
    async def run(content: bytes) -> str:
        if content.startswith(b"s"):
            raise ZeroDivisionError("oops")
        return "fine"

    broken_target(run)
    record = await fuzz.campaign("images", 50, 1, tmp_path / "last")
    assert record.outcomes["FAILED"] > 0
    assert record.outcomes["fine"] > 0
    path, said = record.findings[0].split(": ", 1)
    assert said == "ZeroDivisionError: oops"
    assert (tmp_path / path).read_bytes().startswith(b"s")


def test_the_same_seed_makes_the_same_inputs() -> None:
    seeds, tokens = [bytes(range(200)), b"short"], [b"token"]
    first, second = random.Random(3), random.Random(3)
    made = [fuzz.mutate(first, seeds, tokens) for _ in range(200)]
    assert made == [fuzz.mutate(second, seeds, tokens) for _ in range(200)]
    assert len(set(made)) > 150
