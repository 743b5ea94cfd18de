"""The page at /, in a real browser."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.axe import findings
from tests.chromium import MISSING, SECONDS, on_a_phone, one, until
from tests.e2e.photo_tab import choose_sample

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

WEIGHT = 150_000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(running, browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    browser.set_window_size(1280, 900)
    browser.get("about:blank")
    browser.get(running.url)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".sample, h1"))
    browser.get_log("browser")
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    browser.execute_script("localStorage.clear()")


def send(page: webdriver.Chrome, file: Path) -> None:
    one(page, "#file").send_keys(str(file))


def test_it_shows_each_face_with_its_seven_probabilities(page: webdriver.Chrome) -> None:
    send(page, ROOT / "api/samples/two.jpg")
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".card"))
    assert one(page, "#photo h1").text == "2 faces"
    assert re.fullmatch(r"by \w+ version \d+, in [\d,]+ ms", one(page, "#photo .note").text)
    cards = page.find_elements(By.CSS_SELECTOR, ".card")
    assert [len(card.find_elements(By.CSS_SELECTOR, ".bar")) for card in cards] == [7, 7]
    assert len({card.find_element(By.CSS_SELECTOR, ".bars").text.split("\n")[0] for card in cards}) == 1
    for card, number in zip(cards, (1, 2), strict=True):
        assert re.match(rf"Face {number} (looks|is unclear, perhaps) ", card.text)
    frames = page.find_elements(By.CSS_SELECTOR, ".stage .frame")
    picture = one(page, ".stage img").rect
    for frame in frames:
        box = frame.find_element(By.TAG_NAME, "rect").rect
        assert picture["x"] <= box["x"]
        assert box["x"] + box["width"] <= picture["x"] + picture["width"]


@pytest.mark.parametrize("name", ["two", "one", "tilted", "dark", "group"])
def test_each_sample_has_a_face(page: webdriver.Chrome, name: str) -> None:
    choose_sample(page, name)


def test_two_versions_side_by_side(page: webdriver.Chrome) -> None:
    send(page, ROOT / "api/samples/one.jpg")
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".field select")) == 2)
    compare = Select(page.find_elements(By.CSS_SELECTOR, ".field select")[1])
    assert len(compare.options) > 1
    compare.select_by_index(1)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".bar-more, .bar-less"))
    assert "Both agree on" in one(page, "#photo").text


def test_a_problem_is_shown_in_words(page: webdriver.Chrome) -> None:
    send(page, ROOT / "README.md")
    assert one(page, ".state.problem").text.startswith("Unsupported format")
    assert not page.find_elements(By.CSS_SELECTOR, ".card")
    page.get_log("browser")  # the browser tells of each 415


def test_no_face_says_what_to_do(page: webdriver.Chrome, tmp_path: Path) -> None:
    cv2.imwrite(
        str(tmp_path / "grey.png"), cv2.resize(cv2.imread(str(ROOT / "api/samples/one.jpg"))[:20, :20], (400, 300))
    )
    send(page, tmp_path / "grey.png")
    until(page, lambda: one(page, "#photo h1").text == "No face found")
    page.find_element(By.CSS_SELECTOR, "#photo .state button").click()
    until(page, lambda: not page.find_elements(By.CSS_SELECTOR, "#photo .state button, #photo .spinner"))
    assert one(page, "#photo h1").text == "No face found"


def test_all_twelve_of_a_group_are_found(page: webdriver.Chrome) -> None:
    choose_sample(page, "group")
    assert one(page, "#photo h1").text == "12 faces"
    shown = lambda: [card.text for card in page.find_elements(By.CSS_SELECTOR, ".figures") if card.is_displayed()]  # noqa: E731
    assert len(shown()) == 1
    page.find_elements(By.CSS_SELECTOR, ".face")[11].click()
    assert len(shown()) == 1
    assert page.find_elements(By.CSS_SELECTOR, ".card")[11].get_attribute("class").endswith(" chosen")


def test_large_photos_are_shrunk_before_they_are_sent(page: webdriver.Chrome, tmp_path: Path) -> None:
    photo = cv2.resize(cv2.imread(str(ROOT / "api/samples/one.jpg")), (2560, 3000))
    cv2.imwrite(str(tmp_path / "large.jpg"), photo)
    send(page, tmp_path / "large.jpg")
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".stage svg"))
    width, height = map(float, one(page, ".stage svg").get_dom_attribute("viewBox").split()[2:])
    assert (height, round(width)) == (1600, 1365)


def test_the_camera_shows_a_live_face_and_stops(page: webdriver.Chrome) -> None:
    one(page, "#tab-camera").click()
    assert "Frames of your camera go to" in one(page, "#camera").text
    one(page, "#camera-start").click()
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#camera .frame"))
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".timeline polygon"))
    assert "WebSocket" in one(page, ".figures-line").text
    one(page, "#camera-stop").click()
    assert one(page, "#camera-start").is_displayed()
    count = "return performance.getEntriesByType('resource').length"
    time.sleep(0.5)
    before = page.execute_script(count)
    time.sleep(1)
    assert page.execute_script(count) == before


def test_a_post_a_frame_where_no_stream_opens(page: webdriver.Chrome) -> None:
    page.execute_script("window.WebSocket = class { constructor() { throw new Error('no'); } };")
    one(page, "#tab-camera").click()
    one(page, "#camera-start").click()
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#camera .frame"))
    assert "one POST a frame" in one(page, ".figures-line").text


# Answers each frame after a while, with a face that is now on one side and now on the other.
TWO_PLACES = """
window.WebSocket = class extends EventTarget {
  constructor() { super(); this.sent = 0; setTimeout(() => this.dispatchEvent(new Event("open"))); }
  close() {}
  send(data) {
    if (typeof data === "string") return;
    const box = { x: this.sent++ % 2 ? 40 : 240, y: 100, width: 120, height: 120 };
    const only = { happy: 1 };
    const face = { track: 1, box, emotion: "happy", unclear: false, probabilities: only, smoothed: only };
    setTimeout(() => this.onmessage({ data: JSON.stringify({ type: "result", faces: [face] }) }), 400);
  }
};
"""
PLACES = """
const done = arguments[0], places = new Set(), end = performance.now() + 3000;
const look = () => {
  places.add(Number(document.querySelector("#camera .frame rect").getAttribute("x")));
  performance.now() < end ? requestAnimationFrame(look) : done([...places]);
};
look();
"""


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_frames_glide_between_replies_unless_motion_is_unwanted(page: webdriver.Chrome, motion: str) -> None:
    wish = {"features": [{"name": "prefers-reduced-motion", "value": motion}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
    page.refresh()
    page.execute_script(TWO_PLACES)
    one(page, "#tab-camera").click()
    one(page, "#camera-start").click()
    one(page, "#camera .frame")
    places = page.execute_async_script(PLACES)
    assert 120 <= min(places) < max(places) <= 320
    assert len(places) == 2 if motion == "reduce" else len(places) > 4, places
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_camera_goes_on_after_the_service_was_gone(demo, browser: webdriver.Chrome) -> None:
    demo.start()
    demo.wait_for("Ctrl-C stops.")
    browser.get(f"{demo.url}/#camera")
    one(browser, "#camera-start").click()
    one(browser, "#camera .frame")
    demo.close()
    until(browser, lambda: one(browser, "#camera .status").text == "Connection lost. Trying again…")
    assert not browser.find_elements(By.CSS_SELECTOR, "#camera .frame")
    demo.output = ""
    demo.start()
    demo.wait_for("Ctrl-C stops.")
    one(browser, "#camera .frame")
    assert one(browser, "#camera .status").text == "Live"
    assert "WebSocket" in one(browser, ".figures-line").text
    browser.get("about:blank")
    browser.get_log("browser")  # it tells of each connection that failed


SENT = """
window.sent = 0;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) { window.sent += 1; return send.call(this, data); };
"""
# A tab in front of it does that, which a headless browser does not have.
HIDE = "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true });"


def test_the_camera_rests_while_nobody_looks(page: webdriver.Chrome) -> None:
    page.execute_script(SENT)
    one(page, "#tab-camera").click()
    one(page, "#camera-start").click()
    until(page, lambda: page.execute_script("return window.sent") > 2)
    page.execute_script(HIDE, True)
    until(page, lambda: one(page, "#camera .status").text.startswith("Paused"))
    before = page.execute_script("return window.sent")
    time.sleep(1)
    assert page.execute_script("return window.sent") == before
    page.execute_script(HIDE + "document.dispatchEvent(new Event('visibilitychange'));", False)
    until(page, lambda: page.execute_script("return window.sent") > before)
    until(page, lambda: one(page, "#camera .status").text == "Live")


def test_what_the_model_looked_at(page: webdriver.Chrome) -> None:
    send(page, ROOT / "api/samples/two.jpg")
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#photo .tools > button"))
    page.find_element(By.CSS_SELECTOR, "#photo .tools > button").click()
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".stage image")) == 2)


def test_experiments_are_for_operators(page: webdriver.Chrome) -> None:
    one(page, "#tab-experiments").click()
    until(page, lambda: "for operators" in one(page, "#experiments").text)
    assert findings(page) == []
    page.get_log("browser")  # the browser tells of the 403


def test_the_keyboard_is_enough(page: webdriver.Chrome) -> None:
    one(page, ".sample")
    active = lambda: page.switch_to.active_element  # noqa: E731
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert active().text == "Skip to the content"
    one(page, "#tab-photo").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert active().get_attribute("id") == "tab-api"
    assert one(page, "#api h1").is_displayed()
    active().send_keys(Keys.HOME)
    assert active().get_attribute("id") == "tab-photo"
    one(page, ".sample").send_keys(Keys.ENTER)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".face"))
    page.find_elements(By.CSS_SELECTOR, ".face")[1].send_keys(Keys.ENTER)
    assert "Face 2" in active().text
    page.get_log("browser")  # the browser tells of the 403 of the experiments on the way


def test_a_walk_by_keyboard_alone(page: webdriver.Chrome) -> None:
    def is_at(selector: str) -> bool:
        return page.execute_script("return document.activeElement.matches(arguments[0])", selector)

    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    def walk(selector: str, back: bool = False) -> None:
        for _ in range(40):
            if is_at(selector):
                return
            chain = ActionChains(page)
            (
                chain.key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT) if back else chain.send_keys(Keys.TAB)
            ).perform()
        raise AssertionError(f"no way to {selector}")

    one(page, ".sample")
    walk("#file")
    walk(".sample", back=True)
    walk(".sample:first-child", back=True)
    press(Keys.ENTER)
    one(page, ".card")
    assert is_at("#photo h1")
    walk(".card:nth-child(2) .face")
    press(Keys.ENTER)
    assert is_at(".card.chosen:nth-child(2) .face")
    walk("#photo pre")
    walk("#tab-photo", back=True)
    press(Keys.ARROW_RIGHT)
    assert is_at("#tab-camera")
    walk("#camera-start")
    press(Keys.ENTER)
    one(page, "#camera .frame")
    assert is_at("#camera-stop")
    press(Keys.SPACE)
    assert is_at("#camera-start")


def test_it_speaks_vietnamese(page: webdriver.Chrome) -> None:
    Select(one(page, "#language")).select_by_value("vi")
    assert one(page, "#tab-photo").text == "Ảnh"
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "vi"
    one(page, ".sample").click()
    until(page, lambda: "khuôn mặt" in one(page, "#photo h1").text)


def test_both_languages_have_every_word(page: webdriver.Chrome) -> None:
    found = page.execute_async_script(
        "const done = arguments[0]; import('./assets/words.js').then(({words}) => done(words));"
    )
    assert found["en"].keys() == found["vi"].keys()
    assert [key for key, text in {**found["en"], **found["vi"]}.items() if not text.strip()] == []
    for key, text in found["en"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", found["vi"][key])), key


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out_on_a_phone(page: webdriver.Chrome, theme: str) -> None:
    on_a_phone(page)
    try:
        Select(one(page, "#theme")).select_by_value(theme)
        wide = "return document.documentElement.scrollWidth"
        assert page.execute_script(wide) == 360
        one(page, ".sample").click()
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".card"))
        assert page.execute_script(wide) == 360
        one(page, "#tab-api").click()
        one(page, "#api table")
        assert page.execute_script(wide) == 360
        inside = "return document.querySelector('.settings').getBoundingClientRect().right <= 344"
        page.execute_script("document.getElementById('key-button').textContent = 'Forget key'")
        assert page.execute_script(inside)
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_needs_nothing_from_elsewhere_and_weighs_little(page: webdriver.Chrome, running) -> None:
    one(page, ".sample").click()
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".card"))
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name);")
    assert [url for url in loaded if not url.startswith((running.url, "data:", f"blob:{running.url}"))] == []
    web = ROOT / "api/web"
    assert (
        sum(path.stat().st_size for path in web.iterdir() if path.suffix in (".html", ".js", ".css", ".svg")) < WEIGHT
    )


def test_the_api_documentation_needs_no_other_host(page: webdriver.Chrome, running) -> None:
    page.get(f"{running.url}/docs")
    WebDriverWait(page, SECONDS).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".opblock-summary-path"))
    hosts = page.execute_script("return performance.getEntriesByType('resource').map((e) => new URL(e.name).host)")
    assert set(hosts) == {running.url.removeprefix("http://")}
