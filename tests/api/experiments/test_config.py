from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.config_file.document import ConfigFileError
from api.experiments.config import ExperimentsConfig, parse
from tests.api.experiments.conftest import CONTROL, TREATMENT, experiment
from wire.target import Target

PATH = Path("experiments.yaml")

WHOLE = """
experiments:
  - name: bigger-network
    salt: december
    start: 2026-12-01T00:00:00Z
    end: 2026-12-15T00:00:00+01:00
    subject: {cookie: uid}
    control: old
    variants:
      - {name: new, model: residual, label: canary, weight: 10}
      - {name: old, model: residual, version: 1, weight: 90}
    shadow:
      - {name: small, model: student, version: 3, share: 0.5}
  - name: next
    start: 2026-12-15T00:00:00+01:00
    variants:
      - {name: only, model: residual, version: 2, weight: 1}
"""


def load(content: str) -> ExperimentsConfig:
    return parse(content.encode(), PATH, ["residual", "student"])


def test_a_whole_file() -> None:
    config = load(WHOLE)
    first, second = config.experiments
    assert (first.salt, second.salt) == ("december", "next")
    assert (first.control, second.control) == ("old", "only")
    assert (first.subject.header, first.subject.cookie) == (None, "uid")
    assert (second.subject.header, second.subject.cookie) == ("X-Subject-ID", None)
    assert first.end == datetime(2026, 12, 14, 23, tzinfo=UTC)
    assert first.variants[0].target == Target("residual", label="canary")
    assert first.shadow[0].target == Target("student", version=3)
    assert first.buckets == (1000, 9000)
    assert config.find("next") is second
    assert config.find("other") is None


def test_states_and_their_ends() -> None:
    config = load(WHOLE)
    first, second = config.experiments
    start, end = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 15, tzinfo=timezone(timedelta(hours=1)))
    tick = timedelta(microseconds=1)
    assert [first.state(at) for at in (start - tick, start, end - tick, end)] == [
        "scheduled",
        "running",
        "running",
        "ended",
    ]
    assert config.running(start - tick) is None
    assert config.running(end - tick) == first
    assert config.running(end) == second
    assert second.state(datetime(2999, 1, 1, tzinfo=UTC)) == "running"


def test_no_experiments_is_a_valid_file() -> None:
    assert load("experiments: []").running(datetime.now(UTC)) is None


def variants(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"variants": [{**one, **change} for one, change in zip([CONTROL, TREATMENT], changes, strict=True)]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"nmae": "x"}, "experiments[0].nmae: Extra inputs are not permitted"),
    ({"name": "two words"}, "experiments[0].name: String should match pattern"),
    ({"start": "2026-12-01T00:00:00"}, "experiments[0].start: Input should have timezone info"),
    ({"start": "soon"}, "experiments[0].start: Input should be a valid datetime"),
    ({"start": 20261201}, "experiments[0].start: must be a date and time with a time zone"),
    ({"end": "2019-01-01T00:00:00Z"}, "experiments[0]: end must be later than start"),
    ({"control": "other"}, "experiments[0]: control 'other' is none of the variants ['old', 'new']"),
    ({"variants": []}, "experiments[0].variants: Tuple should have at least 1 item"),
    ({"subject": {}}, "experiments[0].subject: give either header or cookie"),
    ({"subject": {"header": "A", "cookie": "b"}}, "experiments[0].subject: give either header or cookie"),
    (variants({}, {"name": "old"}), "experiments[0]: variant 'old' is there twice"),
    (variants({}, {"label": "stable"}), "experiments[0].variants[1]: give either version or label"),
    (variants({}, {"version": None}), "experiments[0].variants[1]: give either version or label"),
    (variants({}, {"version": "2"}), "experiments[0].variants[1].version: Input should be a valid integer"),
    (variants({}, {"weight": -1}), "experiments[0].variants[1].weight: Input should be greater than or equal to 0"),
    (variants({}, {"weight": "10%"}), "experiments[0].variants[1].weight: Input should be a valid number"),
    (variants({}, {"weight": float("inf")}), "experiments[0].variants[1].weight: Input should be a finite number"),
    (variants({}, {"weight": 0.001}), "experiments[0]: the weight of variant 'new' is less than one part in 10,000"),
    (variants({"weight": 0}, {"weight": 0}), "experiments[0]: the weights add up to nothing"),
    (variants({}, {"model": "ghost"}), "experiments[0].variants[1].model: 'ghost' is not one of EMOTION_MODELS"),
    (
        {"shadow": [{"name": "s", "model": "ghost", "version": 1}]},
        "experiments[0].shadow[0].model: 'ghost' is not one of EMOTION_MODELS (residual, student)",
    ),
    (
        {"shadow": [{"name": "s", "model": "residual", "version": 1, "share": 1.5}]},
        "experiments[0].shadow[0].share: Input should be less than or equal to 1",
    ),
]


@pytest.mark.parametrize(("change", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_a_wrong_value_is_named_by_file_key_and_reason(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        load(yaml.safe_dump({"experiments": [experiment(**change)]}))
    assert str(refused.value).startswith(f"experiments.yaml: {problem}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("experiments: [", "not YAML: "),
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("experiments:\n", "experiments: Input should be a valid tuple"),
        ("experiments: []\nexperiments: []", "not YAML: key 'experiments' twice (line 2, column 1)"),
        ("experiments: [{start: 2026-11-31T00:00:00Z}]", "not YAML: day "),
        ("!!python/object/apply:os.system ['true']", "not YAML: "),
    ],
)
def test_a_wrong_file(content: str, problem: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        load(content)
    assert str(refused.value).startswith(f"experiments.yaml: {problem}")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ConfigFileError, match="not YAML"):
        parse(b"\xff\xfe\xfa", PATH, ["residual"])


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigFileError) as refused:
        load(yaml.safe_dump({"experiments": [experiment(start="soon", salt="", colour="red")]}))
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == [
        "experiments[0].salt",
        "experiments[0].start",
        "experiments[0].colour",
    ]


@pytest.mark.parametrize("end", [None, "2021-01-01T00:00:01Z"])
def test_two_experiments_at_once(end: str | None) -> None:
    both = [experiment(name="one", end=end), experiment(name="two", start="2021-01-01T00:00:00Z")]
    with pytest.raises(ConfigFileError, match="'one' and 'two' run at the same time"):
        load(yaml.safe_dump({"experiments": both}))
    both[0]["end"] = both[1]["start"]
    assert len(load(yaml.safe_dump({"experiments": both})).experiments) == 2


def test_two_experiments_of_one_name() -> None:
    twice = [experiment(end="2021-01-01T00:00:00Z"), experiment(start="2021-01-01T00:00:00Z")]
    with pytest.raises(ConfigFileError, match="experiment 'trial' is there twice"):
        load(yaml.safe_dump({"experiments": twice}))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (variants({"weight": 1}, {"weight": 1}), True),
        ({"shadow": [{"name": "s", "model": "student", "version": 3}]}, True),
        ({"end": "2031-01-01T00:00:00Z"}, True),
        ({"control": "old"}, True),
        ({"name": "other"}, False),
        ({"salt": "other"}, False),
        ({"control": "new"}, False),
        (variants({"weight": 60}, {}), False),
        (variants({}, {"version": 3}), False),
        (variants({}, {"version": None, "label": "canary"}), False),
        (variants({}, {"model": "student"}), False),
        (variants({}, {"name": "newer"}), False),
    ],
)
def test_the_split_id_changes_with_what_matters_for_the_split(change: dict[str, Any], same: bool) -> None:
    [one] = load(yaml.safe_dump({"experiments": [experiment()]})).experiments
    [other] = load(yaml.safe_dump({"experiments": [experiment(**change)]})).experiments
    assert len(one.split_id) == 16
    assert (one.split_id == other.split_id) == same


def with_variant(text: str) -> str:
    lines = ["experiments:", "- name: trial", "  start: 2020-01-01T00:00:00Z", "  variants:"]
    return "\n".join([*lines, "  - {name: a, model: residual, version: 1, weight: 1}", f"  - {{{text}}}"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version: 0123", "0123 would be read as 83"),
        ("version: -010", "-010 would be read as -8"),
        ("version: 0_1", "0_1 would be read as 1"),
        ("weight: 90:10", "90:10 would be read as 5410"),
        ("weight: 1:30.5", "1:30.5 would be read as 90.5"),
        ("1:32", "1:32 would be read as 92"),
        ("name: on", "on would be read as true; as a name it needs quotes"),
        ("name: No", "No would be read as false"),
        ("label: off", "off would be read as false"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        load(with_variant(text))
    column = 6 + len(text) - len(text.rpartition(": ")[2])
    assert str(refused.value).startswith(f"experiments.yaml: not YAML: {problem}")
    assert str(refused.value).endswith(f"(line 6, column {column})")


@pytest.mark.parametrize("name", ["1", "1.5", "2020-01-01", "true"])
def test_names_that_are_numbers_need_quotes(name: str) -> None:
    rest = "model: residual, version: 2, weight: 1"
    with pytest.raises(ConfigFileError, match="needs quotes"):
        load(with_variant(f"name: {name}, {rest}"))
    assert load(with_variant(f"name: '{name}', {rest}")).experiments[0].variants[1].name == name
    assert load(with_variant(f"name: 'on', {rest}")).experiments[0].variants[1].name == "on"


@pytest.mark.parametrize("weight", ["1.0e+308", "1.7e+308", "9" * 400, "9" * 5000, ".inf", "1.0e+400"])
def test_weights_that_overflow_are_refused(weight: str) -> None:
    whole = with_variant(f"name: b, model: residual, version: 2, weight: {weight}")
    with pytest.raises(ConfigFileError) as refused:
        load(whole.replace("weight: 1}", f"weight: {weight}}}"))
    assert len(str(refused.value)) < 500
    assert "less than one part" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    ["!!int ''", "!!bool x", "!!timestamp x", "!!float ''", "[" * 5000, "&a [*a]", "? [a]\n: b", "a: &b {<<: *b}"],
)
def test_odd_yaml_is_refused_in_a_line(content: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        load(content)
    assert "\n" not in str(refused.value)


def test_only_ten_problems_are_named() -> None:
    wrong = [experiment(name=f"e{number}", colour="red") for number in range(40)]
    with pytest.raises(ConfigFileError) as refused:
        load(yaml.safe_dump({"experiments": wrong}))
    assert len(str(refused.value).splitlines()) == 11
    assert str(refused.value).endswith("... and 30 more")
