"""`make screenshots`: the page as people see it, into build/screenshots/, and README's two pictures into docs/images/.

Every tab at three widths in both themes. Needs Debian's chromium and chromium-driver. The service is `make serve`'s, on
free ports and in a tree of its own; the report of its experiment is drawn from made-up traffic.
"""

import base64
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium import webdriver

from tests.chromium import MISSING, camera, chromium, one, until
from tests.e2e import operated
from tests.e2e.conftest import Demo, make_tree
from tests.e2e.photo_tab import another_photo, choose_sample

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "screenshots"
IMAGES = ROOT / "docs" / "images"
WIDTHS = (360, 800, 1440)
HEIGHT = 800
THEMES = ("light", "dark")
REQUESTS = 600
README_WIDTH = 1200


def main() -> int:
    if MISSING:
        print(f"make screenshots: {MISSING}", file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tree").mkdir()
        service = Demo(make_tree(folder / "tree"), settings=operated.settings(folder))
        try:
            service.start()
            service.wait_for("Ctrl-C stops.", 240)
            print(f"{REQUESTS} predictions, and feedback on them", flush=True)
            operated.make_traffic(service.url, REQUESTS)
            with chromium(folder / "profile", *camera(folder)) as page:
                page.get(service.url)
                _walk(page)
        finally:
            service.close()
    print(f"{len(list(OUT.glob('*.png')))} pictures in {OUT.relative_to(ROOT)}/")
    return 0


def _walk(page: webdriver.Chrome) -> None:
    one(page, ".sample")
    _shoot_all(page, "arrival")
    choose_sample(page, "two")
    _shoot_all(page, "photo")
    one(page, "#photo .tools > button").click()
    one(page, ".stage image")
    _for_readme(page, "page", "light", 880)
    another_photo(page)
    choose_sample(page, "group")
    _shoot_all(page, "group")

    one(page, "#tab-camera").click()
    one(page, "#camera-start")
    _shoot_all(page, "consent")
    one(page, "#camera-start").click()
    # Long enough for a timeline.
    until(page, lambda: page.execute_script("return document.querySelector('.area')?.points.length > 80"))
    _shoot_all(page, "camera")

    one(page, "#tab-experiments").click()
    until(page, lambda: one(page, "#key-dialog").is_displayed())
    # Not beyond what the dialog covers.
    _shoot_all(page, "key", HEIGHT)
    one(page, "#key").send_keys(f"{operated.KEY}\n")
    one(page, ".interval .dot")
    _shoot_all(page, "experiments")
    _for_readme(page, "experiments", "dark", 1000)

    one(page, "#tab-api").click()
    one(page, "#api table")
    _shoot_all(page, "api")


def _shoot_all(page: webdriver.Chrome, name: str, height: int | None = None) -> None:
    for width in WIDTHS:
        for theme in THEMES:
            _dress(page, width, theme)
            (OUT / f"{name}-{width}-{theme}.png").write_bytes(_shoot(page, height))


def _dress(page: webdriver.Chrome, width: int, theme: str) -> None:
    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 800}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_script(
        "const select = document.getElementById('theme'); select.value = arguments[0];"
        "select.dispatchEvent(new Event('change')); scrollTo(0, 0);",
        theme,
    )


def _shoot(page: webdriver.Chrome, height: int | None = None) -> bytes:
    """A PNG of the whole page, or of its top."""
    whole = page.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": whole["width"], "height": height or whole["height"], "scale": 1}
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return base64.b64decode(shot["data"])


def _for_readme(page: webdriver.Chrome, name: str, theme: str, height: int) -> None:
    _dress(page, README_WIDTH, theme)
    page.execute_script("document.activeElement.blur()")
    with Image.open(BytesIO(_shoot(page, height))) as picture:
        picture.convert("RGB").save(IMAGES / f"{name}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
