"""axe-core: what it finds on a page as it is."""

from importlib.util import find_spec
from pathlib import Path

from selenium import webdriver


def _source() -> str:
    # Without an import, which would bring a second browser driver.
    spec = find_spec("axe_playwright_python")
    assert spec
    assert spec.origin
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def findings(page: webdriver.Chrome) -> list[str]:
    """Each element that breaks a rule, and how."""
    if not page.execute_script("return Boolean(window.axe)"):
        page.execute_script(_source())
    violations = page.execute_async_script("axe.run().then(({violations}) => arguments[0](violations))")
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for rule in violations
        for node in rule["nodes"]
    ]
