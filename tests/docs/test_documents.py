"""README and the manuals name everything that there is, and nothing that there is not."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import SecretStr

from api.app import create_app
from api.errors import ServiceError
from api.reports.__main__ import app as reports
from api.settings import Settings
from serving.rollout.__main__ import app as rollout
from trainer.__main__ import app as trainer

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "k8s/README.md", ROOT / "observability/README.md")
)
# It names what is gone, too.
OF_TODAY = [name for name in DOCUMENTS if name != "CHANGELOG.md"]

COMMAND_LINES = {"api.reports": reports, "serving": rollout, "trainer": trainer}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[str]:
    """Code in lines and in blocks, a command that goes on in the next line as one."""
    joined = text.replace("\\\n", " ")
    for block in re.findall(r"^```\w*\n(.*?)^```", joined, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", joined, flags=re.MULTILINE | re.DOTALL))


def anchors(text: str) -> set[str]:
    """The fragments by which GitHub knows a document's headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_readme_is_read_in_one_sitting() -> None:
    assert len(read("README.md").splitlines()) <= 150


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        if re.match(r"\w+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if fragment:
            assert fragment in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", OF_TODAY)
def test_every_path_exists(name: str) -> None:
    ignored = re.findall(r"^([\w-]+)/$", read(".gitignore"), re.MULTILINE)
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ignored]
    own = re.compile(rf"(?<![\w./<@-])(?:{'|'.join(map(re.escape, folders))})/[\w./*<-]*")
    for path in own.findall(read(name)):
        if "<" not in path:
            assert any(ROOT.glob(path.rstrip("./"))), path


@pytest.mark.parametrize("name", OF_TODAY)
def test_every_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    named = {target for line in commands(read(name)) for target in re.findall(r"\bmake ([a-z][\w-]*)", line)}
    assert named - targets == set()


@pytest.mark.parametrize("name", OF_TODAY)
def test_every_python_command_takes_what_it_is_given(name: str) -> None:
    for line in commands(read(name)):
        for module, rest in re.findall(r"python -m ([\w.]+)([^#&|]*)", line):
            assert importlib.util.find_spec(module), line
            words = re.findall(r"[^\s'\"]+", rest)
            if module not in COMMAND_LINES or not words:
                continue
            command: Any = typer.main.get_command(COMMAND_LINES[module])
            while hasattr(command, "commands") and words:
                assert words[0] in command.commands, line
                command = command.commands[words.pop(0)]
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, line


def test_the_example_of_experiments_is_accepted() -> None:
    [example, *_] = re.findall(r"^```yaml\n(.*?)^```", read("docs/experiments.md"), re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-m", "api.experiments"]
    done = subprocess.run(command, input=example, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(read("docs/operating.md")) if len(row) == 3}
    found = {name: default for name, default in documented.items() if name.startswith("EMOTION_")}
    assert found == {f"EMOTION_{name.upper()}": _default(name) for name in Settings.model_fields}


def _default(name: str) -> str:
    if name == "cpu_workers":
        return "the cores"
    match Settings.model_fields[name].default:
        case None:
            return ""
        case bool() as flag:
            return str(flag).lower()
        case SecretStr() as secret:
            return secret.get_secret_value()
        case tuple() as names:
            return ",".join(names)
        case value:
            return str(value)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"EMOTION_[A-Z0-9_]+", read(name)))
    assert named - {f"EMOTION_{field.upper()}" for field in Settings.model_fields} == set()


def test_every_type_of_problem_is_documented_with_its_status() -> None:
    documented = {
        (int(row[0]), slug)
        for row in rows(read("docs/api.md"))
        if row[0].isdecimal() and len(row) == 3
        for slug in re.findall(r"`([\w-]+)`", row[1])
    }
    assert documented == {(kind.status, kind.slug) for kind in _kinds(ServiceError)}


def _kinds(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    # Those that a client can tell apart: a class without a slug of its own only groups others. Others' tests and the
    # renderer may have made more.
    if "slug" in vars(base) and base.__module__ == ServiceError.__module__:
        yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


def test_every_endpoint_and_its_parameters_are_documented() -> None:
    text = read("docs/api.md")
    document = create_app(Settings()).openapi()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in text
    named = {row[0].strip("`") for row in rows(text)}
    for parameter in document["paths"]["/v1/predict"]["post"]["parameters"]:
        assert parameter["name"] in named
