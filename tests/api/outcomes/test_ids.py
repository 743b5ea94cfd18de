from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from api.outcomes.ids import lowest_id, made_at, new_id


def test_an_id_is_a_uuid_of_version_7_and_tells_its_time() -> None:
    before = datetime.now(UTC)
    ids = [new_id() for _ in range(1000)]
    after = datetime.now(UTC)
    assert len(set(ids)) == 1000
    for one in ids:
        assert (UUID(one).version, UUID(one).variant) == (7, "specified in RFC 4122")
        assert UUID(one).hex == one
        assert before - timedelta(milliseconds=1) <= made_at(one) <= after


def test_ids_sort_by_time() -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    early, late = new_id(noon - timedelta(milliseconds=1)), new_id(noon)
    assert early < lowest_id(noon) <= late
    assert made_at(late) == noon


# Constants, because every worker must collect the same tests.
MADE = "019ab7c2f3d27c41a5d0a8f8a2b4c6de"
RANDOM = "2dac173ae8854f91aedd39d39740cb5e"


@pytest.mark.parametrize(
    "wrong", ["", "x" * 32, "0" * 32, "f" * 32, RANDOM, MADE[:-1], MADE.upper() + "A", MADE.upper(), f"{MADE}\n"]
)
def test_what_new_id_never_makes(wrong: str) -> None:
    assert made_at(wrong) is None


def test_what_it_makes_is_taken() -> None:
    assert made_at(MADE) is not None


def test_the_largest_time_is_no_crash() -> None:
    assert made_at("f" * 12 + "7" + "0" * 3 + "8" + "0" * 15) is None
