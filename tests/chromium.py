"""A real browser, where Debian's packages are installed; its camera shows a film."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = None if CHROMIUM and DRIVER else "chromium and chromedriver are not installed"
SECONDS = 30
PORTRAIT = Path(__file__).parents[1] / "api/samples/one.jpg"


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    """Headless, and silent on the network."""
    assert CHROMIUM
    assert DRIVER
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={profile}",
        *flags,
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def camera(folder: Path) -> tuple[str, ...]:
    """Flags for a camera that shows a bundled portrait, wandering."""
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    portrait = cv2.resize(portrait, (480, 562))
    film = folder / "camera.mjpeg"
    frames = (cv2.imencode(".jpg", portrait[2 * shift : 2 * shift + 480])[1] for shift in range(20))
    film.write_bytes(b"".join(frame.tobytes() for frame in frames))
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )


def until(page: webdriver.Chrome, condition: Callable[[], object]) -> None:
    WebDriverWait(page, SECONDS).until(lambda _: condition())


def one(page: webdriver.Chrome, selector: str) -> WebElement:
    """The first such element, once there is one."""
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, selector))
    return page.find_element(By.CSS_SELECTOR, selector)


def on_a_phone(page: webdriver.Chrome, *, width: int = 360, height: int = 740) -> None:
    """From here on the page is that wide, in CSS pixels; `Emulation.clearDeviceMetricsOverride` ends it."""
    size = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
