"""models.config as a file, and the two lists of a promotion."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from serving.rollout import models_config
from serving.rollout.errors import ConfigError
from serving.rollout.models_config import ModelsConfig, with_label, with_version

COMMENT = "# Why it is so.\n#\n# And more.\n\n"


def write(tmp_path: Path, policy: str = "", labels: str = 'version_labels { key: "stable" value: 1 }') -> Path:
    file = tmp_path / "models.config"
    policy = f"model_version_policy {{ {policy} }}" if policy else ""
    file.write_text(
        f'{COMMENT}model_config_list {{\n  config {{ name: "other" base_path: "/m/other" }}\n'
        f'  config {{ name: "faces" base_path: "/m/faces" {policy} {labels} }}\n}}\n'
    )
    return file


def policy(config: ModelsConfig, version: int, *, seen: set[int], loaded: set[int] | None = None) -> str:
    """faces' version policy of step 1, on one line."""
    proto = with_version(config, "faces", version, seen=seen, loaded=seen if loaded is None else loaded)
    return text_format.MessageToString(proto.model_config_list.config[1].model_version_policy, as_one_line=True)


def labels(proto: object) -> dict[str, int]:
    return dict(proto.model_config_list.config[1].version_labels)


def test_the_leading_comment_the_mode_and_the_other_models_outlive_a_change(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.chmod(0o640)
    link = tmp_path / "link.config"
    link.symlink_to(file)
    config = models_config.read(link)
    models_config.write(config, with_label(config.proto, "faces", 2, "stable", keep=True))
    text = file.read_text()
    assert text.startswith(COMMENT + "model_config_list {")
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    after = models_config.read(file)
    assert labels(after.proto) == {"stable": 2, "stable-previous": 1}
    assert after.entry("other") == config.entry("other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.config", "models.config"]


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


def test_a_file_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {\n  config { nmae: 'x' }\n}\n")
    with pytest.raises(ConfigError, match=r"models\.config:2:\d+ : .*nmae"):
        models_config.read(file)
    file.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="model_config_list is missing"):
        models_config.read(file)
    with pytest.raises(ConfigError, match=r"none\.config: cannot be read"):
        models_config.read(tmp_path / "none.config")


def test_an_unlisted_model_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.config: no model 'random'; its models: other, faces"):
        models_config.read(write(tmp_path)).entry("random")
