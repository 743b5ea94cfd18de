"""pyproject.toml's base and extras hold what the packages import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.extras import EXTRAS, PROJECT, wanted

ROOT = Path(__file__).resolve().parents[2]
OURS = {"api", "emotion_client", "faces", "serving", "trainer", "wire"}
# Extras of each package; a package within another is listed before it.
NEEDED = {
    "faces": ["faces", "heic"],
    "wire": ["wire"],
    "serving/rollout": ["rollout"],
    "serving": ["serving"],
    "api": ["gateway", "otel"],
    "trainer": ["trainer", "teacher", "portable"],
    "emotion_client": ["client", "cli", "video"],
}
# By whom else: FastAPI is a Starlette; Pydantic has a core; PyTorch is a backend of Keras that the user chooses.
BROUGHT = {"pydantic_core": "pydantic", "starlette": "fastapi", "torch": "keras"}


def named(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


def brought(extras: list[str]) -> set[str]:
    """What extras install, those that they name themselves included."""
    return {canonicalize_name(requirement.name) for requirement in wanted(extras)}


def modules(package: str) -> Iterator[Path]:
    inner = [ROOT / other for other in NEEDED if other.startswith(f"{package}/")]
    for file in (ROOT / package).rglob("*.py"):
        if not any(file.is_relative_to(folder) for folder in inner):
            yield file


def imports(file: Path) -> set[str]:
    """Top-level modules that a file imports from elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - OURS - sys.stdlib_module_names


@pytest.mark.parametrize("package", NEEDED)
def test_a_package_imports_what_it_declares(package: str) -> None:
    declared = brought(NEEDED[package])
    distributions = packages_distributions()
    for file in modules(package):
        for module in imports(file):
            brings = {canonicalize_name(one) for one in distributions.get(module, [])}
            assert declared & {*brings, BROUGHT.get(module)}, f"{file.relative_to(ROOT)} imports {module}"


def test_no_extra_repeats_what_it_names() -> None:
    for extra, lines in EXTRAS.items():
        own = [sorted(one.extras) for one in map(Requirement, lines) if one.name == PROJECT["name"]]
        below = brought([name for names in own for name in names])
        assert not below & {name for name in named(lines) if name != PROJECT["name"]} or extra == "dev", extra


def test_the_client_and_its_command_need_neither_numpy_nor_opencv() -> None:
    heavy = {"numpy", "opencv-python-headless", "pillow", "grpcio", "matplotlib"}
    assert not brought(["cli"]) & heavy
    # Nor do they import what somebody else has installed.
    script = f"""
import sys
for name in {sorted([*heavy, "cv2", "PIL", "grpc", "av"])!r}:
    sys.modules[name] = None
import emotion_client
from emotion_client.cli.app import app
print(sorted(command.callback.__name__ for command in app.registered_commands))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "['compare', 'health', 'models', 'predict', 'report', 'video']\n", done.stderr


def test_a_command_says_which_extra_it_needs(tmp_path: Path) -> None:
    for command, file in (("video", "x.mp4"), ("compare", tmp_path)):
        options = ["--a", "random", "--b", "residual"] if command == "compare" else []
        script = (
            "import sys; sys.modules['av'] = sys.modules['PIL'] = None; from emotion_client.cli.app import main; main()"
        )
        words = [sys.executable, "-c", script, command, str(file), *options]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("this needs `pip install '.[video]'` (")
        assert done.stderr.count("\n") == 1


def test_the_whole_is_for_development() -> None:
    [whole] = [requirement for requirement in map(Requirement, EXTRAS["dev"]) if requirement.name == PROJECT["name"]]
    assert whole.extras == set(EXTRAS) - {"dev"}
