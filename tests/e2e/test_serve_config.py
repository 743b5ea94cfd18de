"""The models.config that `make serve` starts with: promotions and new models both arrive."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

LATEST = "model_version_policy { latest { num_versions: 2 } }"


def entry(name: str, stable: int) -> str:
    return (
        f'config {{ name: "{name}" base_path: "/models/{name}" {LATEST} '
        f'version_labels {{ key: "stable" value: {stable} }} }}'
    )


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """scripts/serve.py over a tree of its own."""
    spec = importlib.util.spec_from_file_location("serve", request.config.rootpath / "scripts" / "serve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for directory in ("serving", ".run"):
        (tmp_path / directory).mkdir()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "RUN", tmp_path / ".run")
    return module


def ship(serve: ModuleType, *entries: str) -> None:
    (serve.ROOT / "serving" / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}\n")


def served(serve: ModuleType) -> dict[str, int]:
    """Where stable of each model points, in the file that a start writes."""
    listed = serve._read(serve.write_models_config()).model_config_list.config
    assert all(model.base_path == f"{serve.ROOT}/model_repository/{model.name}" for model in listed)
    return {model.name: model.version_labels["stable"] for model in listed}


def promote(serve: ModuleType, name: str, version: int) -> None:
    file = serve.RUN / "models.config"
    proto = serve._read(file)
    [model] = [model for model in proto.model_config_list.config if model.name == name]
    model.version_labels["stable"] = version
    file.write_text(str(proto))


def test_a_promotion_outlives_restarts_and_the_arrival_of_a_model(serve: ModuleType) -> None:
    ship(serve, entry("residual", 1))
    assert served(serve) == {"residual": 1}
    promote(serve, "residual", 2)
    assert served(serve) == {"residual": 2}
    ship(serve, entry("random", 1), entry("residual", 1))
    assert served(serve) == {"random": 1, "residual": 2}
    promote(serve, "random", 3)
    ship(serve, entry("random", 1))
    assert served(serve) == {"random": 3}


def test_a_model_that_was_added_by_hand_stays(serve: ModuleType) -> None:
    ship(serve, entry("residual", 1))
    assert served(serve) == {"residual": 1}
    file = serve.RUN / "models.config"
    mine = entry("mine", 4).replace("/models/", f"{serve.ROOT}/model_repository/")
    file.write_text(file.read_text().replace("model_config_list {", f"model_config_list {{ {mine}", 1))
    ship(serve, entry("residual", 1), entry("random", 1))
    assert served(serve) == {"residual": 1, "random": 1, "mine": 4}


def test_an_entry_that_changed_where_it_is_shipped_wins(serve: ModuleType) -> None:
    ship(serve, entry("residual", 1), entry("random", 1))
    assert served(serve) == {"residual": 1, "random": 1}
    promote(serve, "residual", 2)
    promote(serve, "random", 2)
    ship(serve, entry("residual", 3), entry("random", 1))
    assert served(serve) == {"residual": 3, "random": 2}


def test_a_list_that_does_not_parse_is_one_line(serve: ModuleType) -> None:
    ship(serve, entry("residual", 1))
    served(serve)
    ship(serve, "config { nmae: 'x' }")
    with pytest.raises(serve.StartError, match=r"serving/models\.config:1:\d+ : .*nmae"):
        served(serve)
