import pytest
from google.protobuf import text_format

from serving.policy import aspired_versions
from wire.serving_pb2 import ServableVersionPolicy

EVERY = text_format.Parse("all { }", ServableVersionPolicy())
ON_DISK = ["1", "2", "10", ".3", "3.partial", "v4", "-5", "notes", "6 ", "\u0667"]


def test_only_integers_are_versions() -> None:
    assert aspired_versions(EVERY, ON_DISK) == {1: "1", 2: "2", 10: "10"}


def test_number_beyond_int64_is_no_version() -> None:
    assert aspired_versions(EVERY, [str(2**63), str(2**63 - 1)]) == {2**63 - 1: str(2**63 - 1)}


def test_of_two_spellings_the_last_one_wins() -> None:
    assert aspired_versions(EVERY, ["7", "007"]) == {7: "7"}


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [10]),
        ("latest { }", [10]),
        ("latest { num_versions: 0 }", [10]),
        ("latest { num_versions: 2 }", [2, 10]),
        ("latest { num_versions: 9 }", [1, 2, 10]),
        ("all { }", [1, 2, 10]),
        ("specific { versions: 1 versions: 10 versions: 77 }", [1, 10]),
        ("specific { }", []),
    ],
)
def test_policy_chooses(policy: str, versions: list[int]) -> None:
    assert list(aspired_versions(text_format.Parse(policy, ServableVersionPolicy()), ON_DISK)) == versions


@pytest.mark.parametrize("policy", ["", "all { }", "specific { versions: 1 }"])
def test_empty_directory_wants_nothing(policy: str) -> None:
    assert aspired_versions(text_format.Parse(policy, ServableVersionPolicy()), []) == {}
