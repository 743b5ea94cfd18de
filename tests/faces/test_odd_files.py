"""Photos in every shape that programs write them look to us as they do to a browser."""

import base64
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from faces.decode import Grey, decode
from tests.chromium import MISSING, chromium
from tests.faces.odd_files import GREY, odd_files

FILES = odd_files()
DIFFERENT = {
    **dict.fromkeys(
        (f"turned-webp-{orientation}" for orientation in range(2, 9)),
        "Chromium leaves EXIF in WebP alone; other viewers do not, and a face is read upright",
    ),
    **dict.fromkeys(
        (f"bmp-32-alpha-0-{header}" for header in (56, 108, 124)),
        "Chromium shows nothing; programs that leave alpha 0 mean an opaque picture",
    ),
    "bmp-rle8-short-rows": "what runs leave out is black in Chromium, the first colour in other viewers",
}
# Chromium leaves out whole blocks of the last rows.
UNENDED = {"jpeg-no-end", "jpeg-last-rows-missing", "bmp-last-padding-missing"}
# Grey levels, on average, instead of 3, which is what colours lose that we leave to their tone curve. Chromium shows
# AVIF with alpha or with several frames lighter than the picture that was encoded.
TOLERANCE = {"avif-alpha": 6.0, "avif-animated": 6.0}

SHOW = """
const [content, done] = arguments, image = new Image();
image.onload = () => {
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const paint = canvas.getContext('2d');
  paint.fillStyle = 'white';
  paint.fillRect(0, 0, canvas.width, canvas.height);
  paint.drawImage(image, 0, 0);
  done(canvas.toDataURL('image/png'));
};
image.onerror = () => done(null);
image.src = 'data:application/octet-stream;base64,' + content;
"""


@pytest.fixture(scope="module")
def browser_shows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], Grey]]:
    if MISSING:
        pytest.skip(MISSING)
    with chromium(tmp_path_factory.mktemp("chromium"), "--force-color-profile=srgb") as driver:
        driver.set_script_timeout(30)
        driver.get("data:text/html,<body></body>")

        def show(content: bytes) -> Grey:
            shown = driver.execute_async_script(SHOW, base64.b64encode(content).decode())
            assert shown is not None, "the browser refuses it"
            png = base64.b64decode(shown.partition(",")[2])
            return np.asarray(Image.open(BytesIO(png)).convert("L"))

        yield show


def decoded(content: bytes) -> Grey:
    return decode(content, max_bytes=10 * 2**20, max_pixels=25_000_000)


@pytest.mark.parametrize("name", [name for name in FILES if name not in DIFFERENT])
def test_a_photo_looks_as_in_a_browser(browser_shows: Callable[[bytes], Grey], name: str) -> None:
    theirs, ours = browser_shows(FILES[name]), decoded(FILES[name])
    assert ours.shape == theirs.shape
    rows = len(ours) * 3 // 4 if name in UNENDED else len(ours)
    difference = np.abs(ours[:rows].astype(int) - theirs[:rows]).mean()
    assert difference < TOLERANCE.get(name, 3.0)


@pytest.mark.parametrize("name", [name for name in DIFFERENT if "rle8" not in name])
def test_where_a_browser_shows_less(name: str) -> None:
    ours = decoded(FILES[name]).astype(int)
    truth = np.asarray(GREY).astype(int)
    if name.startswith("turned"):
        # Stored as the upright picture is, so that it comes out turned.
        orientation = int(name[-1])
        turns = {
            2: np.fliplr,
            3: lambda grey: np.rot90(grey, 2),
            4: np.flipud,
            5: np.transpose,
            6: lambda grey: np.rot90(grey, -1),
            7: lambda grey: np.rot90(grey.T, 2),
            8: np.rot90,
        }
        truth = turns[orientation](truth)
    assert ours.shape == truth.shape
    assert np.abs(ours - truth).mean() < 2


@pytest.mark.parametrize("name", FILES)
def test_every_odd_file_is_a_photo(name: str) -> None:
    assert decoded(FILES[name]).std() > 5
