"""A user's own faces in folders, through the same `load` as everything else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.contract import CLASSES
from faces.crop import to_face
from faces.decode import decode
from trainer.data.dataset import load
from trainer.data.split import Split
from trainer.errors import DataError


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def only_face(root: Path) -> np.ndarray:
    splits = list(load([root]).splits.values())
    assert [len(split) for split in splits] == [1]
    return splits[0].images[0]


def quadrants(width: int, height: int) -> np.ndarray:
    """White top left, grey top right, black below."""
    image = np.zeros((height, width), np.uint8)
    image[: height // 2] = 120
    image[: height // 2, : width // 2] = 255
    return image


EXPECTED = quadrants(48, 48)


@pytest.mark.parametrize("size", [(48, 48), (480, 480), (96, 240), (24, 24)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_any_size_and_colour_becomes_48x48_grey(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    image = Image.fromarray(quadrants(*size)).convert(mode)
    save(tmp_path / "happy" / ("face.tiff" if mode == "CMYK" else "face.png"), image)
    difference = np.abs(only_face(tmp_path).astype(int) - EXPECTED)
    # Growing 24 to 48 pixels blurs the edges; inside the quadrants nothing changes.
    assert np.median(difference) <= 1
    assert difference[4:20, 4:20].max() <= 2
    assert difference[4:20, 28:44].max() <= 2


def test_shrinking_averages_and_does_not_skip(tmp_path: Path) -> None:
    stripes = np.zeros((480, 480), np.uint8)
    stripes[:, ::2] = 200
    save(tmp_path / "sad" / "face.png", Image.fromarray(stripes))
    assert set(only_face(tmp_path).ravel().tolist()) == {100}


def test_sixteen_bits_keep_their_grey_and_transparency_is_white(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "fear" / "face.png", Image.fromarray(quadrants(96, 96).astype(np.uint16) * 257))
    np.testing.assert_array_equal(only_face(tmp_path / "deep"), EXPECTED)
    clear = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    save(tmp_path / "clear" / "fear" / "face.png", clear)
    assert (only_face(tmp_path / "clear") == 255).all()


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored = Image.fromarray(quadrants(96, 96)).transpose(Image.Transpose.ROTATE_90)
    save(tmp_path / "neutral" / "face.jpg", stored, exif=exif, quality=95)
    assert np.median(np.abs(only_face(tmp_path).astype(int) - EXPECTED)) <= 2


def test_a_face_is_made_as_the_gateway_makes_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 5  # mirrored along the diagonal
    noise = np.random.default_rng(0).integers(0, 256, (131, 77, 3), np.uint8)
    path = save(tmp_path / "happy" / "face.jpg", Image.fromarray(noise), exif=exif)
    grey = decode(path.read_bytes(), max_bytes=10**6, max_pixels=10**6)
    np.testing.assert_array_equal(only_face(tmp_path), to_face(grey))


def test_split_folders_are_kept(tmp_path: Path, faces: Callable[..., Split], write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path / "Training", faces(14, seed=1))
    write_folder(tmp_path / "PublicTest", faces(7, seed=2))
    dataset = load([tmp_path])
    assert {name: len(split) for name, split in dataset.splits.items()} == {"Training": 14, "PublicTest": 7}
    assert dataset.splits["Training"].class_counts() == dict.fromkeys(CLASSES, 2)


def test_without_split_folders_a_tenth_is_held_out_by_content(
    tmp_path: Path, faces: Callable[..., Split], write_folder: Callable[..., Path]
) -> None:
    split = faces(420, seed=3)
    before = load([write_folder(tmp_path / "a", split)])
    training, public = before.require("Training", "PublicTest")
    assert len(training) + len(public) == 420
    assert 20 <= len(public) <= 70
    # In another order and under other names, and with a copy of every image in another format: the same tenth.
    root = write_folder(tmp_path / "b", split.take(np.arange(420)[::-1]))
    for path in list(root.glob("*/*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))
    after = load([root])
    assert after.leaked == 0
    copied = after.require("PublicTest")[0].images
    assert len(copied) == 2 * len(public)
    assert {image.tobytes() for image in copied} == {image.tobytes() for image in public.images}


def test_class_names_in_any_case_and_mapped(tmp_path: Path) -> None:
    face = Image.fromarray(EXPECTED)
    for name in ("Happy", "Joy", "SURPRISE"):
        save(tmp_path / "Training" / name / "face.png", face)
    counts = load([tmp_path], class_map={"JOY": "happy"}).splits["Training"].class_counts()
    assert {name: count for name, count in counts.items() if count} == {"happy": 2, "surprise": 1}


def test_an_unknown_class_lists_the_known_ones_and_the_way_out(tmp_path: Path) -> None:
    save(tmp_path / "contempt" / "face.png", Image.fromarray(EXPECTED))
    with pytest.raises(DataError) as caught:
        load([tmp_path])
    assert str(tmp_path / "contempt") in str(caught.value)
    assert "known: angry, disgust, fear, happy, sad, surprise, neutral" in str(caught.value)
    assert "--map contempt=CLASS" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an image", "truncated"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | str) -> None:
    path = save(tmp_path / "angry" / "face.png", Image.effect_noise((96, 96), 50))
    path.write_bytes(path.read_bytes()[:2000] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=rf"{path}: is not a readable image \(JPEG, PNG, "):
        load([tmp_path])


def test_litter_is_skipped_and_anything_else_is_not(tmp_path: Path) -> None:
    save(tmp_path / "angry" / "face.png", Image.fromarray(EXPECTED))
    for litter in ("angry/.DS_Store", "angry/Thumbs.db", "notes.txt", ".cache/x"):
        (tmp_path / litter).parent.mkdir(exist_ok=True)
        (tmp_path / litter).write_text("x")
    assert only_face(tmp_path).shape == (48, 48)
    (tmp_path / "angry" / "more").mkdir()
    with pytest.raises(DataError, match="more: is a folder inside a class folder"):
        load([tmp_path])


def test_a_folder_without_images_or_with_mixed_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "angry").mkdir()
    with pytest.raises(DataError, match="has no images; expected <class>/<image>"):
        load([tmp_path])
    (tmp_path / "Training").mkdir()
    with pytest.raises(DataError, match="has 'angry' beside the split folder 'Training'"):
        load([tmp_path])


def test_the_digest_follows_names_and_contents(tmp_path: Path) -> None:
    path = save(tmp_path / "angry" / "face.png", Image.fromarray(EXPECTED))
    digests = {load([tmp_path]).sources[0].sha256, load([tmp_path]).sources[0].sha256}
    assert len(digests) == 1
    path = path.rename(path.with_name("other.png"))
    digests.add(load([tmp_path]).sources[0].sha256)
    save(path, Image.fromarray(EXPECTED[::-1]))
    digests.add(load([tmp_path]).sources[0].sha256)
    assert len(digests) == 3


def test_faces_of_no_class_yet_are_not_read(tmp_path: Path) -> None:
    for name in ("happy", "unlabelled"):
        save(tmp_path / name / "face.png", Image.new("L", (48, 48), len(name)))
    assert set(only_face(tmp_path).ravel().tolist()) == {len("happy")}
