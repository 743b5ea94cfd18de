"""requirements/*.txt hold what pyproject.toml asks for, by hash, on every Python and processor that we name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.extras import PYPROJECT, wanted

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = {"gateway": ["gateway", "otel"], "trainer": ["trainer", "rollout"]}
ENVIRONMENTS = [(version, machine) for version in ("3.11", "3.12", "3.13") for machine in ("x86_64", "aarch64")]


def entries(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a lock with its hashes."""
    lines = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        if text := line.partition("#")[0].strip():
            requirement, *hashes = text.split(" --hash=")
            yield Requirement(requirement), [one.strip() for one in hashes]


def environment(version: str, machine: str) -> dict[str, str]:
    """Markers of CPython on Linux."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": machine}
    python = {"python_version": version, "python_full_version": f"{version}.0", "implementation_name": "cpython"}
    return {**default_environment(), **linux, **python, "platform_python_implementation": "CPython"}


def installed(lock: str, markers: dict[str, str]) -> dict[str, str]:
    """Version by name of what pip would install there."""
    versions: dict[str, str] = {}
    for requirement, _ in entries(lock):
        if requirement.marker is None or requirement.marker.evaluate(markers):
            [pin] = requirement.specifier
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"two versions of {name}"
            versions[name] = pin.version
    return versions


@pytest.mark.parametrize("lock", ["build", *EXTRAS])
def test_every_requirement_is_one_version_with_hashes(lock: str) -> None:
    found = list(entries(lock))
    assert found
    for requirement, hashes in found:
        assert [pin.operator for pin in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(one.startswith("sha256:") and len(one) == 71 for one in hashes), requirement
        assert requirement.url is None


@pytest.mark.parametrize(("version", "machine"), ENVIRONMENTS)
@pytest.mark.parametrize("lock", EXTRAS)
def test_the_lock_satisfies_pyproject(lock: str, version: str, machine: str) -> None:
    markers = environment(version, machine)
    versions = installed(lock, markers)
    for requirement in wanted(EXTRAS[lock]):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"`make lock`: {name} is missing"
        assert requirement.specifier.contains(versions[name]), f"`make lock`: {requirement}, not {versions[name]}"


def test_the_gateway_installs_no_training_library() -> None:
    names = {canonicalize_name(requirement.name) for requirement, _ in entries("gateway")}
    assert not names & {"tensorflow", "tensorflow-cpu", "tensorflow-serving-api", "keras", "torch"}


def test_the_trainer_installs_no_web_service() -> None:
    names = {canonicalize_name(requirement.name) for requirement, _ in entries("trainer")}
    assert not names & {"fastapi", "starlette", "uvicorn", "python-multipart", "prometheus-client", "opentelemetry-api"}


def test_locks_leave_the_index_to_who_installs() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text(), path
        assert "-url" not in path.read_text(), path


def test_the_build_lock_satisfies_the_build_system() -> None:
    asked = [line for line in (ROOT / "requirements" / "build.in").read_text().splitlines() if not line.startswith("#")]
    assert asked == ["pip", *PYPROJECT["build-system"]["requires"]]
    versions = installed("build", environment("3.11", "x86_64"))
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(versions[requirement.name])
