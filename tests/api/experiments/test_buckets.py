import json
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from api.experiments.buckets import BUCKETS, allocate, bucket_of, shares

NAMES = ("a", "b", "c", "d", "e")

weight = st.one_of(st.integers(0, 100), st.floats(0, 1))
# A new table takes milliseconds.
few = settings(max_examples=25, deadline=None)
many = settings(deadline=None)


def table(*weights: float) -> tuple[str, ...]:
    return allocate(NAMES[: len(weights)], weights, "a")


def moved(before: tuple[str, ...], after: tuple[str, ...]) -> Counter[tuple[str, str]]:
    return Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)


def least(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """As many buckets have to move between tables of these counts."""
    return (Counter(after) - Counter(before)).total()


def test_the_bucket_is_sha256_of_salt_and_subject() -> None:
    # printf 'trial:alice' | sha256sum, modulo 10,000.
    assert bucket_of("trial", "alice") == 7716
    assert bucket_of("tri", "al:alice") != bucket_of("trial", "alice")


@many
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_has_a_bucket(salt: str, subject: str) -> None:
    assert 0 <= bucket_of(salt, subject) < BUCKETS
    assert bucket_of(salt, subject) == bucket_of(salt, subject)


def test_another_process_agrees() -> None:
    script = """
import json, sys
from api.experiments.buckets import allocate, bucket_of
owners = allocate(("a", "b", "c"), (0.5, 0.3, 0.2), "a")
print(json.dumps([owners[bucket_of("trial", f"user {i}")] for i in range(2000)]))
"""
    answers = [
        json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    owners = table(0.5, 0.3, 0.2)
    here = [owners[bucket_of("trial", f"user {i}")] for i in range(2000)]
    assert answers == [here, here]


@pytest.mark.parametrize("weights", [(90, 10), (1, 1, 1), (50, 30, 15, 5)])
def test_the_split_follows_the_weights(weights: tuple[float, ...]) -> None:
    subjects = 20_000
    owners = table(*weights)
    counts = Counter(owners[bucket_of("trial", f"user-{i}")] for i in range(subjects))
    expected = [subjects * weight / sum(weights) for weight in weights]
    # The subjects are always the same, so this cannot fail by chance.
    assert chisquare([counts[name] for name in NAMES[: len(weights)]], expected).pvalue > 0.01


def test_experiments_with_other_salts_split_independently() -> None:
    owners = table(1, 1)
    pairs = Counter(
        (owners[bucket_of("first", f"user-{i}")], owners[bucket_of("second", f"user-{i}")]) for i in range(20_000)
    )
    cells = [[pairs[one, other] for other in "ab"] for one in "ab"]
    assert chi2_contingency(cells).pvalue > 0.01


@many
@given(st.lists(weight, min_size=1, max_size=8))
def test_shares_add_up_and_are_off_by_less_than_a_bucket(weights: list[float]) -> None:
    assume(sum(weights) > 1e-6)
    counts = shares(weights)
    assert sum(counts) == BUCKETS
    for count, one in zip(counts, weights, strict=True):
        assert abs(count - one / sum(weights) * BUCKETS) < 1 + 1e-6


def test_weights_that_add_up_to_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        shares([0, 0])


@few
@given(st.lists(st.integers(0, 50), min_size=2, max_size=5))
def test_every_variant_owns_its_share_of_buckets(weights: list[int]) -> None:
    assume(sum(weights) > 0)
    counts = Counter(table(*weights))
    assert [counts[name] for name in NAMES[: len(weights)]] == list(shares(weights))


def test_from_90_to_80_percent_a_tenth_moves() -> None:
    assert moved(table(90, 10), table(80, 20)) == {("a", "b"): 1000}
    assert moved(table(80, 20), table(90, 10)) == {("b", "a"): 1000}


@few
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_of_two_variants_no_bucket_moves_in_vain(before: int, after: int) -> None:
    moves = moved(table(10_000 - before, before), table(10_000 - after, after))
    assert moves.total() == abs(after - before)
    assert set(moves) <= {("a", "b") if after > before else ("b", "a")}


@few
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_last_variant_grows_without_moving_others(b: int, c: int, before: int, after: int) -> None:
    one, other = table(100 - b - c - before, b, c, before), table(100 - b - c - after, b, c, after)
    moves = moved(one, other)
    assert moves.total() == least(one, other)
    assert set(moves) <= ({("a", "d")} if after > before else {("d", "a")})


@pytest.mark.parametrize("growing", [1, 2, 3])
@pytest.mark.parametrize("growth", [1, 10, 40])
def test_a_variant_that_grows_from_the_control_displaces_few(growing: int, growth: int) -> None:
    before = [70, 10, 10, 10]
    after = [70 - growth, *(10 + growth * (growing == i) for i in (1, 2, 3))]
    one, other = table(*before), table(*after)
    # It claims buckets of those after it in proportion to what they own, a tenth each here.
    assert moved(one, other).total() <= 1.3 * least(one, other)
    grown = NAMES[growing]
    assert all(new == grown for old, new in zip(one, other, strict=True) if old == grown)
