"""axe-core finds nothing against the page in any of its states."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests.axe import findings
from tests.chromium import MISSING, chromium, on_a_phone, one, until
from tests.e2e import operated
from tests.e2e.conftest import Demo, make_tree
from tests.e2e.photo_tab import another_photo, choose_sample

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """With an experiment that has had traffic, and one that has had none."""
    demo = Demo(
        make_tree(tmp_path_factory.mktemp("tree")), settings=operated.settings(tmp_path_factory.mktemp("files"))
    )
    demo.start()
    try:
        demo.wait_for("Ctrl-C stops.")
        operated.make_traffic(demo.url, 100)
        yield demo
    finally:
        demo.close()


@pytest.fixture(params=["wide", "phone"])
def page(request: pytest.FixtureRequest, service: Demo, browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    browser.get("about:blank")
    browser.set_window_size(1280, 900)
    if request.param == "phone":
        on_a_phone(browser)
    browser.get(service.url)
    one(browser, ".sample")
    yield browser
    browser.execute_script("localStorage.clear()")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("browser")  # it tells of each 401


def check(page: webdriver.Chrome, state: str) -> None:
    for theme in ("light", "dark"):
        page.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        assert findings(page) == [], f"{state}, {theme}"


def test_photos(page: webdriver.Chrome) -> None:
    check(page, "arrival")
    choose_sample(page, "two")
    check(page, "two faces")
    one(page, "#photo .tools > button").click()
    one(page, ".stage image")
    check(page, "what the model looked at")
    Select(page.find_elements(By.CSS_SELECTOR, ".field select")[1]).select_by_index(1)
    one(page, ".bar-more, .bar-less")
    check(page, "side by side")


def test_many_faces(page: webdriver.Chrome) -> None:
    choose_sample(page, "group")
    check(page, "twelve faces")


def test_no_face_and_no_photo(page: webdriver.Chrome, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 400), 128, np.uint8))
    one(page, "#file").send_keys(str(tmp_path / "grey.png"))
    until(page, lambda: one(page, "#photo h1").text == "No face found")
    check(page, "no face")
    another_photo(page)
    (tmp_path / "words.jpg").write_text("no picture")
    one(page, "#file").send_keys(str(tmp_path / "words.jpg"))
    one(page, "#photo .problem")
    check(page, "a problem")


def test_camera(page: webdriver.Chrome) -> None:
    one(page, "#tab-camera").click()
    one(page, "#camera-start")
    check(page, "consent")
    one(page, "#camera-start").click()
    one(page, "#camera .frame")
    one(page, ".timeline polygon")
    check(page, "live")


def test_experiments(page: webdriver.Chrome) -> None:
    one(page, "#tab-experiments").click()
    until(page, lambda: one(page, "#key-dialog").is_displayed())
    check(page, "a key is asked")
    one(page, "#key-cancel").click()
    one(page, "#experiments .problem")
    check(page, "no key was given")
    one(page, "#experiments .problem button").click()
    one(page, "#key").send_keys("a wrong one\n")
    until(page, lambda: one(page, "#key-wrong").is_displayed())
    check(page, "a wrong key")
    one(page, "#key").send_keys(f"{operated.KEY}\n")
    one(page, ".interval .dot")
    check(page, "a report")
    Select(one(page, "#experiments select")).select_by_value("next-one")
    until(
        page,
        lambda: page.find_elements(By.CSS_SELECTOR, ".verdict") and not page.find_elements(By.CSS_SELECTOR, ".dot"),
    )
    check(page, "a report without data")


def test_the_api(page: webdriver.Chrome) -> None:
    one(page, "#tab-api").click()
    one(page, "#api table")
    check(page, "API")


def test_vietnamese(page: webdriver.Chrome) -> None:
    Select(one(page, "#language")).select_by_value("vi")
    check(page, "arrival")
    choose_sample(page, "two")
    check(page, "two faces")


def test_a_camera_that_is_denied(page: webdriver.Chrome) -> None:
    page.execute_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
    )
    one(page, "#tab-camera").click()
    one(page, "#camera-start").click()
    assert "camera" in one(page, "#camera .problem").text
    check(page, "denied")


def test_a_camera_needs_https_and_the_page_says_so(service: Demo, tmp_path: Path) -> None:
    with chromium(tmp_path, "--host-resolver-rules=MAP elsewhere.test 127.0.0.1") as page:
        page.get(f"http://elsewhere.test:{service.http_port}/#camera")
        until(page, lambda: "HTTPS" in one(page, "#camera").text)
        assert not page.find_elements(By.CSS_SELECTOR, "#camera-start:enabled")
        check(page, "no camera without HTTPS")
