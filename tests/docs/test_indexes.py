"""Each package's docstring has a line for every file and folder in it, and for nothing else."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(
    path.parent.relative_to(ROOT).as_posix()
    for top in ("api", "emotion_client", "faces", "scripts", "serving", "trainer", "wire")
    for path in (ROOT / top).rglob("__init__.py")
)


def contents(package: Path) -> tuple[set[str], set[str]]:
    """Names of the modules and folders, and of all else that may be listed."""
    # What another branch left may be a folder of bytecode alone.
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    entries = {package / path.relative_to(package).parts[0] for path in files} - {package / "__init__.py"}
    due = {entry.name.removesuffix(".py") for entry in entries if entry.is_dir() or entry.suffix == ".py"}
    return due, {entry.name for entry in entries}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_file_has_a_line_in_its_package(name: str) -> None:
    package = ROOT / name
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    listed = re.findall(r"^(\w[\w.]*)  +\S", docstring.partition("\n")[2], re.MULTILINE)
    due, others = contents(package)
    assert len(listed) == len(set(listed))
    assert due <= set(listed) <= due | others
