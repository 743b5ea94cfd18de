"""The models.config that `make serve` starts with: promotions and new models both arrive."""

from pathlib import Path

import pytest

from scripts.serve import write_models_config
from serving import models_config
from serving.errors import ServingError

LATEST = "model_version_policy { latest { num_versions: 2 } }"


def entry(name: str, stable: int) -> str:
    return (
        f'config {{ name: "{name}" base_path: "/models/{name}" {LATEST} '
        f'version_labels {{ key: "stable" value: {stable} }} }}'
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of its own."""
    for directory in ("serving", ".run"):
        (tmp_path / directory).mkdir()
    return tmp_path


def ship(root: Path, *entries: str) -> None:
    (root / "serving" / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}\n")


def served(root: Path) -> dict[str, int]:
    """Where stable of each model points, in the file that a start writes."""
    listed = models_config.read(write_models_config(root)).proto.model_config_list.config
    assert all(model.base_path == f"{root}/model_repository/{model.name}" for model in listed)
    return {model.name: model.version_labels["stable"] for model in listed}


def promote(root: Path, name: str, version: int) -> None:
    config = models_config.read(root / ".run" / "models.config")
    config.entry(name).version_labels["stable"] = version
    config.replace(config.proto)


def test_a_promotion_outlives_restarts_and_the_arrival_of_a_model(root: Path) -> None:
    ship(root, entry("residual", 1))
    assert served(root) == {"residual": 1}
    promote(root, "residual", 2)
    assert served(root) == {"residual": 2}
    ship(root, entry("random", 1), entry("residual", 1))
    assert served(root) == {"random": 1, "residual": 2}
    promote(root, "random", 3)
    ship(root, entry("random", 1))
    assert served(root) == {"random": 3}


def test_a_model_that_was_added_by_hand_stays(root: Path) -> None:
    ship(root, entry("residual", 1))
    assert served(root) == {"residual": 1}
    file = root / ".run" / "models.config"
    mine = entry("mine", 4).replace("/models/", f"{root}/model_repository/")
    file.write_text(file.read_text().replace("model_config_list {", f"model_config_list {{ {mine}", 1))
    ship(root, entry("residual", 1), entry("random", 1))
    assert served(root) == {"residual": 1, "random": 1, "mine": 4}


def test_an_entry_that_changed_where_it_is_shipped_wins(root: Path) -> None:
    ship(root, entry("residual", 1), entry("random", 1))
    assert served(root) == {"residual": 1, "random": 1}
    promote(root, "residual", 2)
    promote(root, "random", 2)
    ship(root, entry("residual", 3), entry("random", 1))
    assert served(root) == {"residual": 3, "random": 2}


def test_a_list_that_does_not_parse_is_one_line(root: Path) -> None:
    ship(root, entry("residual", 1))
    served(root)
    ship(root, "config { nmae: 'x' }")
    with pytest.raises(ServingError, match=r"serving/models\.config:1:\d+ : .*nmae"):
        served(root)
