"""The page at /, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.chromium import MISSING, chromium

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SECONDS = 30


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(running, browser: webdriver.Chrome) -> webdriver.Chrome:
    browser.get(running.url)
    return browser


def send(page: webdriver.Chrome, file: Path) -> str:
    page.find_element(By.ID, "photo").send_keys(str(file))
    WebDriverWait(page, SECONDS).until(lambda _: status(page) not in ("", "Looking…"))
    return status(page)


def status(page: webdriver.Chrome) -> str:
    return page.find_element(By.ID, "status").text


def test_it_shows_each_face_with_its_seven_probabilities(page: webdriver.Chrome, request) -> None:
    text = send(page, request.config.rootpath / "api/samples/two.jpg")
    assert re.match(r"2 faces, by \w+ version \d+", text)
    faces = page.find_elements(By.CSS_SELECTOR, "#faces li")
    assert [len(face.find_elements(By.TAG_NAME, "progress")) for face in faces] == [7, 7]
    canvas = page.find_element(By.ID, "picture")
    WebDriverWait(page, SECONDS).until(lambda _: canvas.is_displayed())
    blue = page.execute_script(
        "const c = arguments[0], d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] === 23 && d[i+1] === 105 && d[i+2] === 170;"
        "return n;",
        canvas,
    )
    assert blue > 500  # the frames around the faces


def test_a_problem_is_shown_in_words(page: webdriver.Chrome, request) -> None:
    text = send(page, request.config.rootpath / "README.md")
    assert text.startswith("Unsupported format: ")
    assert "problem" in page.find_element(By.ID, "status").get_attribute("class")
    assert not page.find_elements(By.CSS_SELECTOR, "#faces li")


def test_it_needs_nothing_from_elsewhere(page: webdriver.Chrome, running) -> None:
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name);")
    assert [url for url in loaded if not url.startswith((running.url, "data:"))] == []
