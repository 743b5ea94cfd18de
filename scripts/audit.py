"""`make audit`: bandit on our code, a CycloneDX SBOM of each lock file, and known vulnerabilities of what they pin.

PyPI knows the vulnerabilities. Where it cannot be asked, that step alone is skipped, and says so.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("api", "faces", "scripts", "serving", "trainer", "wire")
LOCKS = tuple(sorted((ROOT / "requirements").glob("*.txt")))
SBOM = ROOT / "build" / "sbom"

# Of the exceptions of requests and of pip-audit.
_NO_NETWORK = re.compile(r"(Connection|Proxy|SSL)Error|Timeout|Could not connect|timed out")


class AuditError(Exception):
    """Something was found, or a tool failed; the message is for people."""


class NotAskedError(Exception):
    """PyPI could not be asked; the message says why."""


def main() -> int:
    """Exit status: 1 when something was found."""
    found = False
    try:
        check_code()
        print("bandit: nothing found")
    except AuditError as error:
        found = True
        print(f"bandit:\n{error}")
    SBOM.mkdir(parents=True, exist_ok=True)
    for lock in LOCKS:
        name = lock.relative_to(ROOT)
        try:
            sbom = write_sbom(lock, SBOM)
            print(f"SBOM: {name} -> {sbom.relative_to(ROOT)}")
            asked = ask_about(lock)
            print(f"pip-audit: {name}: no known vulnerability in {asked} packages")
        except AuditError as error:
            found = True
            print(f"{name}: {error}")
        except NotAskedError as error:
            print(f"pip-audit: {name}: SKIPPED, vulnerabilities are not known: {error}")
    return int(found)


def check_code() -> None:
    """
    Raises:
        AuditError: bandit found something.
    """
    done = _run("bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *CODE)
    if done.returncode:
        raise AuditError(done.stdout + done.stderr)


def write_sbom(lock: Path, folder: Path) -> Path:
    """Where the lock's SBOM is now. It is the same for the same lock.

    Raises:
        AuditError: it cannot be made, or does not follow CycloneDX's schema.
    """
    sbom = folder / f"{lock.stem}.cdx.json"
    options = ("--pyproject", "pyproject.toml", "--mc-type", "application", "--output-reproducible", "--validate")
    done = _run("cyclonedx_py", "requirements", str(lock), *options, "--output-file", str(sbom))
    if done.returncode:
        raise AuditError(f"no SBOM: {done.stderr}")
    return sbom


def ask_about(lock: Path) -> int:
    """How many packages of the lock PyPI knows, none of them with a known vulnerability.

    Raises:
        AuditError: a vulnerability is known, or a part of the packages is not.
        NotAskedError: PyPI cannot be reached, or knows none of them, as a mirror does.
    """
    done = _run(
        "pip_audit", "--requirement", str(lock), "--disable-pip", "--format", "json", "--progress-spinner", "off"
    )
    return judge(done.stdout, done.stderr)


def judge(report: str, log: str) -> int:
    """As ask_about() does.

    Args:
        report: pip-audit's JSON; empty where it could not ask.
        log: what it says besides.
    """
    if not report.strip():
        reason = log.strip().rpartition("\n")[2]
        raise NotAskedError(reason) if _NO_NETWORK.search(reason) else AuditError(f"pip-audit failed: {log}")
    packages = json.loads(report)["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        raise NotAskedError("PyPI's address knows no package, so it is a mirror without them")
    wrong = [
        f"{package['name']} {package['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'none'}"
        for package in packages
        for one in package.get("vulns", [])
    ]
    wrong += [f"{name} is not known to PyPI" for name in unknown]
    if wrong:
        raise AuditError("\n  ".join(("pip-audit:", *wrong)))
    return len(packages)


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", module, *arguments)
    # Without a shell, and of our own words alone.
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # nosec B603


if __name__ == "__main__":
    sys.exit(main())
