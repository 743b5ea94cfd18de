"""The page of a service that asks for keys."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.axe import findings
from tests.chromium import MISSING, one, until
from tests.e2e.conftest import Demo

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def key(demo: Demo, tmp_path: Path) -> str:
    """A key that may predict and give feedback, where the service that `demo` will be takes it."""
    command = [sys.executable, "-m", "api.keys", "new", "page", "--scope", "predict", "--scope", "feedback"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys:\n{made.stdout}")
    demo.settings = {
        "EMOTION_KEYS_FILE": str(file),
        "EMOTION_RECORD": "all",
        "EMOTION_DATABASE_URL": f"sqlite:///{tmp_path}/outcomes.db",
    }
    return made.stderr.split()[0]


def test_every_tab_asks_for_it_and_the_page_forgets_it(demo: Demo, key: str, browser: webdriver.Chrome) -> None:
    demo.start()
    demo.wait_for("asks for a key. Ctrl-C stops.")
    browser.get(demo.url)
    asked = lambda: one(browser, "#key-dialog").is_displayed()  # noqa: E731

    one(browser, ".sample").click()
    until(browser, asked)
    assert findings(browser) == []
    one(browser, "#key").send_keys("wrong\n")
    until(browser, lambda: one(browser, "#key-wrong").is_displayed())
    one(browser, "#key").send_keys(f"{key}\n")
    one(browser, ".card")
    time.sleep(1)  # a prediction is stored behind its answer
    one(browser, ".feedback button").click()
    until(
        browser,
        lambda: {"Thank you. Noted."} & {place.text for place in browser.find_elements(By.CSS_SELECTOR, ".feedback")},
    )
    one(browser, "#tab-camera").click()
    one(browser, "#camera-start").click()
    one(browser, "#camera .frame")
    assert "WebSocket" in one(browser, ".figures-line").text

    one(browser, "#key-button").click()
    until(browser, asked)
    one(browser, "#key").send_keys(f"{key}\n")
    one(browser, "#camera .frame")
    until(browser, lambda: one(browser, "#camera .status").text == "Live")
    until(browser, lambda: "WebSocket" in one(browser, ".figures-line").text)

    kept = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    assert key not in browser.execute_script(kept)
    browser.refresh()
    one(browser, "#camera-start").click()
    until(browser, asked)
    one(browser, "#key-cancel").click()
    assert one(browser, "#camera .problem").is_displayed()
    assert findings(browser) == []
    browser.get("about:blank")
    browser.get_log("browser")  # it tells of each 401
