"""Photos of any size, from the file to faces."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from faces.align import Aligner
from faces.decode import read
from faces.detect.mtcnn import Mtcnn
from faces.finder import FaceFinder, FaceOptions, FoundFaces

Encode = Callable[..., bytes]
Finder = Callable[..., FoundFaces]


def pasted(photo: Image.Image, size: tuple[int, int], places: list[tuple[int, int]], width: int) -> Image.Image:
    """A photo at several places of a grey picture, at that width."""
    picture = Image.new("RGB", size, (120, 125, 130))
    small = photo.resize((width, round(photo.height * width / photo.width)), Image.Resampling.LANCZOS)
    for place in places:
        picture.paste(small, place)
    return picture


@pytest.fixture(scope="module")
def find() -> Finder:
    finder = FaceFinder(
        detectors={"mtcnn": Mtcnn()},
        aligner=Aligner(),
        max_bytes=20 * 2**20,
        max_pixels=25_000_000,
        side=1920,
    )

    def run(content: bytes, **options: object) -> FoundFaces:
        defaults = {"max_faces": 50, "min_face": None, "detector": "mtcnn", "align": True, "rotate": False}
        return finder.find(finder.decode(content), FaceOptions(**(defaults | options)))

    return run


@pytest.mark.parametrize("size", [(4032, 3024), (7000, 5200), (16_320, 12_240)])
def test_boxes_of_a_phone_photo_are_in_pixels_of_the_photo(
    find: Finder, encode: Encode, one_face: bytes, size: tuple[int, int]
) -> None:
    portrait = Image.open(BytesIO(one_face))
    [alone] = find(one_face).faces
    width = size[0] // 4
    factor = width / portrait.width
    places = [(size[0] // 8, size[1] // 9), (size[0] // 2, size[1] // 2)]
    found = find(encode(pasted(portrait, size, places, width), "JPEG", quality=90))
    assert (found.width, found.height) == size
    assert len(found.faces) == 2
    for face, (x, y) in zip(sorted(found.faces, key=lambda face: face.box.x), places, strict=True):
        tolerance = 0.1 * face.box.width
        assert face.box.x == pytest.approx(x + alone.box.x * factor, abs=tolerance)
        assert face.box.y == pytest.approx(y + alone.box.y * factor, abs=tolerance)
        assert face.box.width == pytest.approx(alone.box.width * factor, abs=tolerance)
        np.testing.assert_allclose(face.landmarks, alone.landmarks * factor + (x, y), atol=tolerance)


def test_a_small_face_of_a_large_photo_is_read_at_full_size(find: Finder, encode: Encode, one_face: bytes) -> None:
    portrait = Image.open(BytesIO(one_face))
    [alone] = find(one_face, align=False).faces
    width = round(80 * portrait.width / alone.box.width)
    picture = pasted(portrait, (4032, 3024), [(1500, 1400)], width)

    def sharpness(kind: str, **options: object) -> float:
        [crop] = find(encode(picture, kind, **options), align=False, min_face=60).tensor
        return float(np.abs(np.diff(crop, axis=0)).mean())

    # A PNG is always decoded whole; from half the size, a fifth of this is lost.
    assert sharpness("JPEG", quality=98) == pytest.approx(sharpness("PNG", compress_level=1), rel=0.08)


def test_min_face_is_in_pixels_of_the_photo(find: Finder, encode: Encode, one_face: bytes) -> None:
    content = encode(pasted(Image.open(BytesIO(one_face)), (4032, 3024), [(900, 700)], 1200), "JPEG")
    [face] = find(content).faces
    assert len(find(content, min_face=face.box.width - 20).faces) == 1
    assert find(content, min_face=face.box.width + 60).faces == []
    search = find(content, min_face=200).search
    assert search is not None
    assert search.min_face >= 200


def test_a_whole_photo_as_one_face(find: Finder, encode: Encode) -> None:
    ramp = Image.linear_gradient("L").resize((6400, 4800))
    found = find(encode(ramp, "JPEG"), detector=None)
    [face] = found.faces
    assert (face.box.width, face.box.height) == (found.width, found.height) == (6400, 4800)
    expected = np.asarray(ramp.resize((48, 48), Image.Resampling.BOX)) / 127.5 - 1
    assert np.abs(found.tensor[0, :, :, 0] - expected).max() < 0.05


@pytest.mark.parametrize(
    ("size", "kind", "side", "scale"),
    [
        ((1024, 600), "JPEG", 1920, 1),
        ((4032, 3024), "JPEG", 1920, 2),
        ((4032, 3024), "JPEG", 4032, 1),
        ((7000, 5200), "JPEG", 7000, 2),
        ((16_320, 12_240), "JPEG", 1920, 8),
        ((60_000, 5), "JPEG", 1920, 4),
        ((4032, 3024), "PNG", 1920, 1),
    ],
)
def test_a_photo_is_decoded_as_small_as_faces_allow(
    encode: Encode, size: tuple[int, int], kind: str, side: int, scale: int
) -> None:
    photo = read(encode(Image.new("L", size), kind), max_bytes=10 * 2**20, max_pixels=25_000_000)
    assert photo.scale(side) == scale
    assert photo.decode(scale).shape == (-(-size[1] // scale), -(-size[0] // scale))
