from __future__ import annotations

from pathlib import Path

import grpc
import pytest

import serving
from serving.config import ModelSettings, read_file, single_model
from serving.errors import ServingError
from serving.policy import All, Latest, Specific

PLATFORM = 'model_platform: "tensorflow"'


def read(tmp_path: Path, text: str) -> dict[str, ModelSettings]:
    file = tmp_path / "models.config"
    file.write_text(text)
    return read_file(file)


def test_every_field(tmp_path: Path) -> None:
    models = read(
        tmp_path,
        f"""model_config_list {{
          config {{
            name: "a" base_path: "/m/a" {PLATFORM} model_version_policy {{ latest {{ num_versions: 3 }} }}
            version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }}
          }}
          config {{ name: "b" base_path: "/m/b" {PLATFORM} model_version_policy {{ all {{}} }} }}
          config {{
            name: "c" base_path: "/m/c" {PLATFORM}
            model_version_policy {{ specific {{ versions: 4 versions: 9 }} }}
          }}
          config {{ name: "d" base_path: "/m/d" {PLATFORM} }}
        }}""",
    )
    assert models == {
        "a": ModelSettings("a", Path("/m/a"), Latest(3), {"stable": 1, "canary": 2}),
        "b": ModelSettings("b", Path("/m/b"), All()),
        "c": ModelSettings("c", Path("/m/c"), Specific(frozenset({4, 9}))),
        "d": ModelSettings("d", Path("/m/d"), Latest(1)),
    }


def test_shipped_config_is_valid() -> None:
    models = read_file(Path(serving.__file__).parent / "models.config")
    residual = models["residual"]
    assert residual.base_path == Path("/models/residual")
    assert set(residual.labels) == {"stable"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model_config_list {\n config {\n  nme: "a"\n }\n}', r'models\.config:3:3 : .*no field named "nme"'),
        ("model_config_list {", r"models\.config:1:\d+ : "),
        ("", "model_config_list is supported.*has to be set"),
        (f'model_config_list {{ config {{ base_path: "/m" {PLATFORM} }} }}', "has no name"),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "m/a" {PLATFORM} }} }}',
            "model a .*base_path.*=m/a",
        ),
        (f'model_config_list {{ config {{ name: "a" {PLATFORM} }} }}', "model a .*absolute"),
        ('model_config_list { config { name: "a" base_path: "/m" } }', 'model a: model_platform .*got ""'),
        (
            'model_config_list { config { name: "a" base_path: "/m" model_platform: "torch" } }',
            'model a: model_platform has to be "tensorflow", got "torch"',
        ),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "/m" {PLATFORM} }} '
            f'config {{ name: "a" base_path: "/n" {PLATFORM} }} }}',
            "list model a multiple times",
        ),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "/m" {PLATFORM} logging_config {{}} }} }}',
            "model a: logging_config is not supported",
        ),
    ],
)
def test_mistake_names_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ServingError, match=message) as error:
        read(tmp_path, text)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "models.config" in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"cannot read .*absent") as error:
        read_file(tmp_path / "absent")
    assert error.value.code is grpc.StatusCode.NOT_FOUND


def test_single_model_must_be_absolute_too() -> None:
    assert single_model("a", "/m/a") == {"a": ModelSettings("a", Path("/m/a"))}
    with pytest.raises(ServingError, match="absolute"):
        single_model("a", "m/a")
