"""The two lists of a promotion, and where a rollback goes."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from serving import models_config
from serving.errors import ServingError
from serving.models_config import ModelsConfig
from serving.rollout.labels import planned_move, with_label, with_version


def write(tmp_path: Path, policy: str = "", labels: str = 'version_labels { key: "stable" value: 1 }') -> Path:
    file = tmp_path / "models.config"
    policy = f"model_version_policy {{ {policy} }}" if policy else ""
    file.write_text(
        f'model_config_list {{\n  config {{ name: "other" base_path: "/m/other" }}\n'
        f'  config {{ name: "faces" base_path: "/m/faces" {policy} {labels} }}\n}}\n'
    )
    return file


def policy(config: ModelsConfig, version: int, *, seen: set[int], loaded: set[int] | None = None) -> str:
    """faces' version policy of step 1, on one line."""
    proto = with_version(config, "faces", version, seen=seen, loaded=seen if loaded is None else loaded)
    return text_format.MessageToString(proto.model_config_list.config[1].model_version_policy, as_one_line=True)


def labels(proto: object) -> dict[str, int]:
    return dict(proto.model_config_list.config[1].version_labels)


@pytest.mark.parametrize(
    ("before", "version", "seen", "after"),
    [
        ("latest { num_versions: 2 }", 2, {1, 2}, "latest { num_versions: 2 }"),
        ("latest { num_versions: 5 }", 2, {1}, "latest { num_versions: 5 }"),
        # Not seen yet: with a window of one it would push out the version that stable needs.
        ("", 2, {1}, "latest { num_versions: 2 }"),
        ("latest { num_versions: 2 }", 4, {1, 2, 3}, "latest { num_versions: 4 }"),
        # Older than the window: nobody knows how many lie between.
        ("latest { num_versions: 2 }", 1, {3, 5}, "specific { versions: 1 versions: 3 versions: 5 }"),
        ("specific { versions: 1 }", 3, {1}, "specific { versions: 1 versions: 3 }"),
        ("specific { versions: 3 versions: 1 }", 3, {1, 3}, "specific { versions: 1 versions: 3 }"),
        ("all { }", 7, {1}, "all { }"),
    ],
)
def test_the_policy_is_widened_just_enough(
    tmp_path: Path, before: str, version: int, seen: set[int], after: str
) -> None:
    assert policy(models_config.read(write(tmp_path, before)), version, seen=seen) == after


def test_a_label_on_a_version_long_gone_does_not_widen_the_window(tmp_path: Path) -> None:
    config = models_config.read(write(tmp_path, "latest { num_versions: 2 }"))
    assert policy(config, 9, seen={1, 7, 8}, loaded={7, 8}) == "latest { num_versions: 2 }"


def test_step_one_moves_no_label_and_leaves_what_it_was_given_alone(tmp_path: Path) -> None:
    config = models_config.read(write(tmp_path))
    given = models_config.render(config.proto)
    first = with_version(config, "faces", 2, seen={1}, loaded={1})
    assert labels(first) == {"stable": 1}
    with_label(first, "faces", 2, "stable", keep=True)
    assert labels(first) == {"stable": 1}
    assert models_config.render(config.proto) == given


@pytest.mark.parametrize(
    ("before", "version", "keep", "after"),
    [
        ({"stable": 1}, 2, True, {"stable": 2, "stable-previous": 1}),
        ({"stable": 2, "stable-previous": 1}, 3, True, {"stable": 3, "stable-previous": 2}),
        ({"stable": 2, "stable-previous": 1}, 1, True, {"stable": 1, "stable-previous": 2}),
        ({"stable": 2, "stable-previous": 1}, 2, True, {"stable": 2, "stable-previous": 1}),
        ({"stable": 2, "stable-previous": 1}, 3, False, {"stable": 3, "stable-previous": 1}),
        ({"canary": 2}, 1, True, {"canary": 2, "stable": 1}),
    ],
)
def test_step_two_moves_the_label_and_remembers_where_it_was(
    tmp_path: Path, before: dict[str, int], version: int, keep: bool, after: dict[str, int]
) -> None:
    text = " ".join(f'version_labels {{ key: "{key}" value: {value} }}' for key, value in before.items())
    proto = models_config.read(write(tmp_path, labels=text)).proto
    assert labels(with_label(proto, "faces", version, "stable", keep=keep)) == after


@pytest.mark.parametrize(("version", "after"), [(5, 5), (None, 2)])
def test_a_move_without_a_version_goes_back(tmp_path: Path, version: int | None, after: int) -> None:
    labels = 'version_labels { key: "stable" value: 3 } version_labels { key: "stable-previous" value: 2 }'
    with planned_move(write(tmp_path, labels=labels), "faces", "stable", version, 60, dry_run=True) as move:
        assert (move.before, move.version) == (3, after)
        assert str(move) == f"faces: stable from version 3 to version {after}"


def test_nothing_is_remembered_of_a_label_that_never_moved(tmp_path: Path) -> None:
    file = write(tmp_path)
    with (
        pytest.raises(ServingError, match="faces has no label 'stable-previous': nothing to roll back to"),
        planned_move(file, "faces", "stable", None, 60, dry_run=True),
    ):
        pass
    with planned_move(file, "faces", "canary", 2, 60, dry_run=True) as move:
        assert str(move) == "faces: canary from nowhere to version 2"
