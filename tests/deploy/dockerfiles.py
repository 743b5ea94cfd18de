"""Dockerfiles as data, and the steps of their build stages carried out without Docker."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.name for path in ROOT.glob("Dockerfile.*"))


@dataclass(frozen=True)
class Stage:
    """What follows one FROM; instructions are (name, value), continuation lines joined."""

    base: str
    alias: str | None
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for instruction, value in self.instructions if instruction == name]

    def command(self, name: str) -> list[str]:
        """The exec form of the only ENTRYPOINT, CMD or HEALTHCHECK, whose options are left out."""
        [value] = self.values(name)
        return [str(word) for word in json.loads(value[value.index("[") :])]

    @property
    def environment(self) -> dict[str, str]:
        return self.pairs("ENV")

    def pairs(self, name: str) -> dict[str, str]:
        """KEY=VALUE of all ENV or LABEL."""
        words = [word for value in self.values(name) for word in shlex.split(value)]
        return {key: value for key, _, value in (word.partition("=") for word in words)}

    def copies(self) -> list[tuple[list[str], str]]:
        """Sources in the context and destination of each COPY that is not from another stage."""
        found = []
        for value in self.values("COPY"):
            words = value.split()
            options = [word for word in words if word.startswith("--")]
            *sources, destination = [word for word in words if word not in options]
            if not any(option.startswith("--from=") for option in options):
                found.append((sources, destination))
        return found


def stages(name: str) -> list[Stage]:
    parser = DockerfileParser(fileobj=io.BytesIO((ROOT / name).read_bytes()))
    found: list[Stage] = []
    for item in parser.structure:
        if item["instruction"] == "FROM":
            base, *alias = re.split(r"\s+AS\s+", item["value"], flags=re.IGNORECASE)
            found.append(Stage(base, alias[0] if alias else None))
        elif item["instruction"] != "COMMENT":
            found[-1].instructions.append((item["instruction"], item["value"]))
    return found


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a file of the checkout through; the last pattern that matches decides."""
    included = True
    parts = path.split("/")
    prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        expression = re.escape(pattern.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, prefix) for prefix in prefixes):
            included = pattern.startswith("!")
    return included


class Build:
    """Carries out a stage's ARG, WORKDIR, ENV, COPY and RUN below a folder that stands for the image's root.

    Args:
        python: the interpreter that the base image would bring.
        arguments: as `--build-arg` gives them.
    """

    def __init__(self, root: Path, python: Path, arguments: Mapping[str, str]) -> None:
        self._arguments = arguments
        self.root = root
        self._here = root
        programs = root / "usr" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(python)
        # Above all where pip finds its packages is this machine's business.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "EMOTION_"))}
        self._environment = {**kept, "PATH": f"{programs}:{kept['PATH']}"}

    def local(self, text: str) -> str:
        """The text with the image's own folders moved below the root."""
        return re.sub(r"(?<![\w.-])/(opt|build|data)(?=[/\s:;'\"]|$)", rf"{self.root}/\1", text)

    def carry_out(self, stage: Stage) -> None:
        """Raises CalledProcessError for a RUN that fails."""
        for name, value in stage.instructions:
            match name:
                case "WORKDIR":
                    self._here = Path(self.local(value))
                    self._here.mkdir(parents=True, exist_ok=True)
                case "ARG":
                    key, _, default = value.partition("=")
                    self._environment[key] = self._arguments.get(key, default)
                case "ENV":
                    for word in shlex.split(value):
                        key, _, text = word.partition("=")
                        self._environment[key] = self.local(text)
                case "COPY":
                    self._copy(value.split())
                case "RUN":
                    subprocess.run(["sh", "-ec", self.local(value)], cwd=self._here, env=self._environment, check=True)
                case _:
                    raise ValueError(f"{name} is not known here: {value}")

    def _copy(self, words: list[str]) -> None:
        *sources, destination = words
        target = self._here / destination
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, target, ignore=_outside_the_context, dirs_exist_ok=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)


def _outside_the_context(folder: str, names: list[str]) -> list[str]:
    relative = Path(folder).relative_to(ROOT)
    return [name for name in names if not in_context(str(relative / name))]
