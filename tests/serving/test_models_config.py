"""models.config as a file, and the rules of TensorFlow Serving for what is in it."""

import os
from pathlib import Path

import grpc
import pytest

import serving
from serving import models_config
from serving.errors import ServingError
from serving.models_config import servable_models
from wire.serving_pb2 import ModelConfig

PLATFORM = 'model_platform: "tensorflow"'
COMMENT = "# Why it is so.\n#\n# And more.\n\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two models below a comment."""
    file = tmp_path / "models.config"
    file.write_text(
        f'{COMMENT}model_config_list {{\n  config {{ name: "other" base_path: "/m/other" }}\n  # Not kept.\n'
        '  config { name: "faces" base_path: "/m/faces" version_labels { key: "stable" value: 1 } }\n}\n'
    )
    return file


def read(tmp_path: Path, text: str) -> dict[str, ModelConfig]:
    file = tmp_path / "models.config"
    file.write_text(text)
    return servable_models(models_config.read(file).proto, f"{file}: ")


def test_the_comment_at_the_top_the_mode_and_the_other_models_outlive_a_change(file: Path) -> None:
    file.chmod(0o640)
    link = file.with_name("link.config")
    link.symlink_to(file)
    config = models_config.read(link)
    other = ModelConfig.FromString(config.entry("other").SerializeToString())
    config.entry("faces").version_labels["stable"] = 2
    config.replace(config.proto)
    assert file.read_text().startswith(COMMENT + "model_config_list {")
    assert "Not kept" not in file.read_text()
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    after = models_config.read(file)
    assert after.entry("faces").version_labels == {"stable": 2}
    assert after.entry("other") == other
    assert sorted(path.name for path in file.parent.iterdir()) == ["link.config", "models.config"]


def test_a_file_that_cannot_be_replaced_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    before = file.read_text()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ServingError, match=r"models\.config: cannot be written: .*No space left"):
        models_config.write(file, "other")
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir()] == ["models.config"]


def test_every_field_outlives_reading_and_writing(tmp_path: Path) -> None:
    text = """model_config_list {
  config {
    name: "a"
    base_path: "/m/a"
    model_platform: "tensorflow"
    logging_config {
      log_collector_config {
        type: "any"
        filename_prefix: "/logs/a"
      }
      sampling_config {
        sampling_rate: 0.25
      }
    }
    model_version_policy {
      specific {
        versions: 4
        versions: 9
      }
    }
    version_labels {
      key: "canary"
      value: 9
    }
    version_labels {
      key: "stable"
      value: 4
    }
  }
}
"""
    file = tmp_path / "models.config"
    assert models_config.render(models_config.parse(text, file)) == text


def test_models_are_found_by_name(tmp_path: Path) -> None:
    entries = (f'config {{ name: "{name}" base_path: "/m/{name}" {PLATFORM} }}' for name in "ab")
    models = read(tmp_path, f"model_config_list {{ {' '.join(entries)} }}")
    assert {name: model.base_path for name, model in models.items()} == {"a": "/m/a", "b": "/m/b"}


def test_shipped_config_is_valid() -> None:
    config = models_config.read(Path(serving.__file__).parent / "models.config")
    residual = servable_models(config.proto)["residual"]
    assert residual.base_path == "/models/residual"
    assert set(residual.version_labels) == {"stable"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model_config_list {\n config {\n  nme: "a"\n }\n}', r"3:3 : .*no field named \"nme\""),
        ("model_config_list {", r"1:\d+ : "),
        ("", "model_config_list is missing"),
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
    with pytest.raises(ServingError, match=rf"models\.config:.*{message}") as error:
        read(tmp_path, text)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"absent: cannot be read") as error:
        models_config.read(tmp_path / "absent")
    assert error.value.code is grpc.StatusCode.NOT_FOUND


def test_an_unlisted_model_is_answered_with_those_there_are(file: Path) -> None:
    with pytest.raises(ServingError, match=r"models\.config: no model 'random'; its models: other, faces"):
        models_config.read(file).entry("random")
