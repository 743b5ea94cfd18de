"""`make audit`: what it lists, and what it makes of pip-audit's answers."""

import json
from pathlib import Path

import pytest

from scripts.audit import LOCKS, AuditError, NotAskedError, judge, write_sbom
from tests.deploy.test_locks import entries


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_an_sbom_lists_what_the_lock_pins(lock: Path, tmp_path: Path) -> None:
    sbom = json.loads(write_sbom(lock, tmp_path).read_text())
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", "emotion-serving")
    pins = {(requirement.name, str(requirement.specifier).removeprefix("==")) for requirement, _ in entries(lock.stem)}
    assert {(one["name"], one["version"]) for one in sbom["components"]} == pins
    for component in sbom["components"]:
        assert component["purl"].startswith("pkg:pypi/")
        assert component["externalReferences"][0]["hashes"]
    first = write_sbom(lock, tmp_path).read_text()
    assert write_sbom(lock, tmp_path).read_text() == first


def report(*packages: dict) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


FINE = {"name": "fine", "version": "1.0", "vulns": []}
WEAK = {"name": "weak", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


def test_known_vulnerabilities_and_a_package_that_is_unknown_are_named() -> None:
    assert judge(report(FINE, FINE), "") == 2
    with pytest.raises(AuditError, match=r"weak 2\.0: PYSEC-1, mended in 2\.1"):
        judge(report(FINE, WEAK), "")
    with pytest.raises(AuditError, match="unknown is not known to PyPI"):
        judge(report(FINE, UNKNOWN), "")


@pytest.mark.parametrize(
    "reason",
    [
        "requests.exceptions.ProxyError: HTTPSConnectionPool(host='pypi.org', port=443): Max retries exceeded",
        "requests.exceptions.ConnectTimeout: pypi.org",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed",
    ],
)
def test_without_network_it_is_skipped_and_says_why(reason: str) -> None:
    with pytest.raises(NotAskedError) as skipped:
        judge("", f"Traceback (most recent call last):\n  ...\n{reason}\n")
    assert str(skipped.value) == reason
    # A mirror that has packages and not what is known of them.
    with pytest.raises(NotAskedError, match="mirror"):
        judge(report(UNKNOWN, UNKNOWN), "")


def test_another_failure_is_no_skip() -> None:
    with pytest.raises(AuditError, match="hashes"):
        judge("", "ERROR:pip_audit._cli:requirement has no hashes")
