from __future__ import annotations

import pytest

from serving.policy import All, Latest, Specific, VersionPolicy, aspired_versions, numeric_versions

ON_DISK = ["1", "2", "10", ".3", "3.partial", "v4", "-5", "notes", "6 ", "\u0667"]


def test_only_integers_are_versions() -> None:
    assert numeric_versions(ON_DISK) == {1: "1", 2: "2", 10: "10"}


def test_number_beyond_int64_is_no_version() -> None:
    assert numeric_versions([str(2**63), str(2**63 - 1)]) == {2**63 - 1: str(2**63 - 1)}


def test_of_two_spellings_the_last_one_wins() -> None:
    assert numeric_versions(["7", "007"]) == {7: "7"}


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (Latest(), [10]),
        (Latest(0), [10]),
        (Latest(2), [2, 10]),
        (Latest(9), [1, 2, 10]),
        (All(), [1, 2, 10]),
        (Specific(frozenset({1, 10, 77})), [1, 10]),
        (Specific(frozenset()), []),
    ],
)
def test_policy_chooses(policy: VersionPolicy, versions: list[int]) -> None:
    assert list(aspired_versions(policy, ON_DISK)) == versions


@pytest.mark.parametrize("policy", [Latest(), All(), Specific(frozenset({1}))])
def test_empty_directory_wants_nothing(policy: VersionPolicy) -> None:
    assert aspired_versions(policy, []) == {}
