"""How many faces does each detector find, how many that are none, and how long does it take?

    python -m benchmarks.faces FOLDER [--detectors yunet mtcnn haar] [--sides 320 640] [--out FILE.json]
    python -m benchmarks.faces FOLDER --make --faces fer2013.npz

FOLDER holds photos and `labels.csv`, one row for each face, with this header:

    photo,x,y,width,height

`photo` is a path within FOLDER. With width and height, the row is the box of a face: its left top corner and its size,
in pixels of the upright photo. Without (empty), x and y are the tip of the nose. A photo without faces has one row
with nothing but its name. Files that have no row are not looked at.

A find counts where the nose lies in the middle two thirds of its box; or where the centres of the two boxes are no
further apart than 0.35 of the face's size and the sizes differ by a factor of two at most (a box's size is the root
of its area). One find counts for one face, and the others are false ones. Milliseconds are processor time of one
thread, from the decoded photo to boxes and crops. Photos in a folder within FOLDER are counted by that folder, too.

`--make` writes such a folder first. FER2013's PublicTest faces and the bundled portraits are pasted on textures and on
what is not a face of the bundled photos, always the same for one --seed. Nobody may publish FER2013's faces: keep
the folder to yourself.
"""

import argparse
import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from faces.align import Aligner
from faces.crop import cut
from faces.decode import Grey
from faces.detect import SIDE_MAX, STANDARD_SIDE, FaceDetector
from faces.detect.choice import NAMES, open_detectors
from faces.finder import FaceFinder, FaceOptions
from faces.geometry import Box, Square

SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
LABELS = "labels.csv"
HEADER = ("photo", "x", "y", "width", "height")
MAX_BYTES, MAX_PIXELS = 2**30, 25_000_000


@dataclass(frozen=True)
class Label:
    """One face."""

    x: float
    y: float
    # None: x and y are the nose's.
    size: tuple[float, float] | None

    def distance(self, box: Box) -> float | None:
        """Between this face and a find, in sizes of the box; None: it is not this face."""
        middle = (box.x + box.width / 2, box.y + box.height / 2)
        if self.size is None:
            across, down = (self.x - middle[0]) / box.width, (self.y - middle[1]) / box.height
            return float(np.hypot(across, down)) if max(abs(across), abs(down)) <= 1 / 3 else None
        size, found = np.sqrt(self.size[0] * self.size[1]), np.sqrt(box.area)
        away = np.hypot(self.x + self.size[0] / 2 - middle[0], self.y + self.size[1] / 2 - middle[1]) / size
        return float(away) if away <= 0.35 and 0.5 <= found / size <= 2 else None


@dataclass
class Count:
    """Of some photos."""

    faces: int = 0
    found: int = 0
    false: int = 0
    ms: float = 0.0
    photos: int = 0

    def add(self, labels: Sequence[Label], boxes: Sequence[Box], ms: float) -> None:
        near = sorted(
            (distance, row, column)
            for row, label in enumerate(labels)
            for column, box in enumerate(boxes)
            if (distance := label.distance(box)) is not None
        )
        rows, columns = set[int](), set[int]()
        for _, row, column in near:
            if row not in rows and column not in columns:
                rows.add(row)
                columns.add(column)
        self.faces += len(labels)
        self.found += len(rows)
        self.false += len(boxes) - len(columns)
        self.ms += ms
        self.photos += 1


def read_labels(folder: Path) -> dict[str, list[Label]]:
    photos: dict[str, list[Label]] = defaultdict(list)
    with (folder / LABELS).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            labels = photos[row["photo"]]
            if row["x"]:
                size = (float(row["width"]), float(row["height"])) if row.get("width") else None
                labels.append(Label(float(row["x"]), float(row["y"]), size))
    return photos


def measure(folder: Path, detectors: dict[str, FaceDetector], console: Console) -> dict[str, dict[str, Count]]:
    """Counts by detector and by photos' folder; "" is all of them."""
    cv2.setNumThreads(1)
    finder = FaceFinder(detectors, Aligner(), max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, side=SIDE_MAX)
    counts: dict[str, dict[str, Count]] = {name: defaultdict(Count) for name in detectors}
    photos = read_labels(folder)
    with console.status("") as status:
        for number, (photo, labels) in enumerate(photos.items()):
            status.update(f"{number} of {len(photos)}: {photo}")
            decoded = finder.decode((folder / photo).read_bytes())
            for name in detectors:
                options = FaceOptions(max_faces=10_000, min_face=None, detector=name, align=False, rotate=False)
                if not number:
                    finder.find(decoded, options)
                start = thread_time()
                found = finder.find(decoded, options)
                ms = (thread_time() - start) * 1000
                for group in {"", Path(photo).parent.as_posix().removeprefix(".")}:
                    counts[name][group].add(labels, [face.box for face in found.faces], ms)
    return counts


def show(counts: dict[str, dict[str, Count]], console: Console) -> None:
    groups = sorted({group for by_group in counts.values() for group in by_group})
    table = Table(title="Faces found, false ones and ms a photo", title_justify="left")
    table.add_column("photos")
    table.add_column("faces", justify="right")
    for name in counts:
        table.add_column(name, justify="right")
    for group in [*groups[1:], groups[0]]:
        one = next(iter(counts.values()))[group]
        cells = (
            f"{count.found}  +{count.false}  {count.ms / count.photos:.1f}"
            for count in (by_group[group] for by_group in counts.values())
        )
        table.add_row(group or "all", str(one.faces), *cells, end_section=group == groups[-1])
    console.print(table)


# The recipe.


@dataclass(frozen=True)
class Head:
    """What is pasted: head and shoulders, the face's frame in the middle of the upper half."""

    picture: Grey
    # FER2013's frame.
    frame: Square
    # [height, width]: 1 where the head is, 0 where the ground shows.
    mask: NDArray[np.float32]


Paste = tuple[Head, float, float]
"""A head, the side of its frame in pixels and its roll in degrees."""


class Composer:
    """Pictures with faces, the same for one seed."""

    def __init__(self, faces: NDArray[np.uint8], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._faces = faces
        one, two = (_read(SAMPLES / f"{name}.jpg") for name in ("one", "two"))
        self._portraits = [_portrait(one, Square(268, 213, 212)), _portrait(two, Square(772, 238, 220))]
        # Cloth, and nothing of a face.
        self._scraps = [one[380:], two[400:]]

    def head(self, side: float, *, portraits: float = 0.15) -> Head:
        """A portrait, mostly with another face, to be pasted with a frame of that side."""
        portrait = self._portraits[self.rng.integers(len(self._portraits))]
        # FER2013's faces are 48 pixels wide: far larger, they are a blur that no camera makes.
        if side > 200 or self.rng.random() < portraits:
            return portrait
        return _with_face(portrait, self._faces[self.rng.integers(len(self._faces))])

    def ground(self, width: int, height: int) -> Grey:
        kind = self.rng.integers(5)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / 1000
        dark, light = sorted(self.rng.uniform(20, 235, 2))
        if kind == 0:
            ground = x * self.rng.uniform(-1, 1) + y * self.rng.uniform(-1, 1)
        elif kind == 1:
            ground = self._clouds(width, height)
        elif kind == 2:
            # Bricks
            tall = self.rng.uniform(0.02, 0.06)
            row = np.floor(y / tall)
            ground = (np.minimum((y / tall) % 1, ((x / tall + row) / 2) % 1) > 0.12) + 0.3 * self._clouds(width, height)
        elif kind == 3:
            ground = np.sin(x * self.rng.uniform(20, 400) + 3 * self._clouds(width, height))
        else:
            scrap = self._scraps[self.rng.integers(len(self._scraps))]
            times = (-(-height // scrap.shape[0]), -(-width // scrap.shape[1]))
            mirrored = cv2.copyMakeBorder(
                scrap, 0, (times[0] - 1) * scrap.shape[0], 0, (times[1] - 1) * scrap.shape[1], cv2.BORDER_REFLECT
            )
            return np.asarray(mirrored[:height, :width], np.uint8).copy()
        return np.asarray(cv2.normalize(ground.astype(np.float32), None, dark, light, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]

    def _clouds(self, width: int, height: int) -> NDArray[np.float32]:
        """Noise of several octaves, about -1 to 1."""
        total = np.zeros((height, width), np.float32)
        for octave in range(1, 7):
            cells = 2**octave
            noise = self.rng.normal(size=(max(2, cells * height // max(width, 1)), cells)).astype(np.float32)
            total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / octave
        return total * np.float32(0.5)

    def places(self, width: int, height: int, sides: Sequence[float]) -> list[tuple[float, float, float]]:
        """x, y and side of the frames that find room beside each other, the hindmost first."""
        taken: list[tuple[float, float, float]] = []
        for side in sorted(sides, reverse=True):
            if side >= min(width, height):
                continue
            for _ in range(200):
                x, y = self.rng.uniform(side / 2, width - side / 2), self.rng.uniform(side / 2, height - side / 2)
                if all(abs(x - a) > 0.75 * (side + c) or abs(y - b) > 0.85 * (side + c) for a, b, c in taken):
                    taken.append((x, y, side))
                    break
        return sorted(taken, key=lambda place: place[1])

    def picture(
        self, size: tuple[int, int], count: int, low: float, high: float, *, roll: tuple[float, float] = (0, 12)
    ) -> tuple[Grey, list[Box]]:
        """Of so many faces with sides between `low` and `high`, leaning to either side."""
        ground = self.ground(*size)
        boxes = []
        for x, y, side in self.places(*size, np.exp(self.rng.uniform(np.log(low), np.log(high), count)).tolist()):
            angle = float(self.rng.choice((-1, 1)) * self.rng.uniform(*roll))
            _blend(ground, self.head(side), x, y, side, angle)
            boxes.append(_box(x, y, side))
        return self._shot(ground), boxes

    def _shot(self, picture: Grey) -> Grey:
        """With a camera's noise."""
        noise = self.rng.normal(scale=self.rng.uniform(1, 5), size=picture.shape).astype(np.float32)
        return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)

    def dark(self) -> tuple[Grey, list[Box]]:
        picture, boxes = self.picture((1024, 768), 3, 60, 200)
        return self._shot(np.asarray(picture * self.rng.uniform(0.06, 0.3), np.uint8)), boxes

    def close(self) -> tuple[Grey, list[Box]]:
        """A face that fills the picture, or nearly."""
        whole = round(self.rng.uniform(500, 2000))
        head = self.head(1000)
        part = Square(head.frame.x, head.frame.y, head.frame.side * float(self.rng.uniform(1.0, 1.5)))
        side = whole * head.frame.side / part.side
        return self._shot(cut(head.picture, part, whole)), [_box(whole / 2, whole / 2, side)]


def _read(path: Path) -> Grey:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def _box(x: float, y: float, side: float) -> Box:
    """Of the face in a frame: narrower, as faces are and as detectors draw them."""
    return Box(round(x - 0.4 * side), round(y - 0.5 * side), round(0.8 * side), round(side))


def _oval(mask: NDArray[np.float32], frame: Square, down: float, across: float, high: float) -> None:
    """Fill an ellipse with 1: its centre so far below the frame's, its half axes, all in sides of the frame."""
    centre = (round(frame.x), round(frame.y + down * frame.side))
    cv2.ellipse(mask, centre, (round(across * frame.side), round(high * frame.side)), 0, 0, 360, (1.0,), -1)


def _feathered(mask: NDArray[np.float32], frame: Square) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.05 * frame.side), np.float32)


def _portrait(photo: Grey, frame: Square) -> Head:
    around, size = 2.4 * frame.side, 800
    picture = cut(photo, Square(frame.x, frame.y + 0.35 * frame.side, around), size)
    scale = size / around
    own = Square(size / 2, size / 2 - 0.35 * frame.side * scale, frame.side * scale)
    mask = np.zeros(picture.shape, np.float32)
    _oval(mask, own, -0.05, 0.62, 0.75)
    _oval(mask, own, 1.6, 1.05, 0.95)
    # The picture's own edges do not show.
    mask[[0, -1], :] = mask[:, [0, -1]] = 0
    return Head(picture, own, _feathered(mask, own))


def _with_face(head: Head, face: NDArray[np.uint8]) -> Head:
    """A face of FER2013 in place of the portrait's, as bright and as rich in contrast."""
    side = round(head.frame.side)
    left, top = round(head.frame.x - side / 2), round(head.frame.y - side / 2)
    picture = head.picture.copy()
    part = picture[top : top + side, left : left + side]
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    alike = (large - large.mean()) / (large.std() + 1) * part.std() + part.mean()
    mask = np.zeros((side, side), np.float32)
    own = Square(side / 2, side / 2, side)
    _oval(mask, own, 0, 0.42, 0.47)
    weight = _feathered(mask, own)
    part[:] = np.clip(weight * alike + (1 - weight) * part, 0, 255)
    return Head(picture, head.frame, head.mask)


def _blend(ground: Grey, head: Head, x: float, y: float, side: float, roll: float) -> None:
    """Paste a head: its frame's centre to (x, y), its frame's side to `side`."""
    scale = side / head.frame.side
    picture, mask, own = head.picture, head.mask, 1.0
    if scale < 0.5:
        # Averaged: a warp would take single pixels.
        own = round(picture.shape[0] * scale) / picture.shape[0]
        picture = np.asarray(cv2.resize(picture, None, fx=own, fy=own, interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(mask, None, fx=own, fy=own, interpolation=cv2.INTER_AREA), np.float32)
    centre = (head.frame.x * own, head.frame.y * own)
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, -roll, scale / own), np.float64)
    reach = round(side * 2.2)
    left, top = round(x) - reach, round(y) - reach
    matrix[:, 2] += (x - left - centre[0], y - top - centre[1])
    turned, weight = (cv2.warpAffine(one, matrix, (2 * reach, 2 * reach)) for one in (picture, mask))
    height, width = ground.shape
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + 2 * reach, width), min(top + 2 * reach, height)
    within = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
    part = ground[y1:y2, x1:x2]
    part[:] = (weight[within] * turned[within] + (1 - weight[within]) * part).astype(np.uint8)


def compose(composer: Composer, wanted: Sequence[str] | None = None) -> Iterator[tuple[str, Grey, list[Box]]]:
    """Names of photos by their kind, the photos, and the boxes of their faces."""
    rng = composer.rng
    kinds: dict[str, tuple[int, Callable[[], tuple[Grey, list[Box]]]]] = {
        "plain": (30, lambda: composer.picture((1024, 768), int(rng.integers(1, 4)), 80, 250)),
        "group": (25, lambda: composer.picture((1600, 1067), int(rng.integers(10, 41)), 40, 110)),
        "small": (20, lambda: composer.picture((640, 480), 8, 12, 60)),
        "tilted": (20, lambda: composer.picture((1024, 768), 4, 80, 160, roll=(20, 55))),
        "dark": (20, composer.dark),
        "panorama": (8, lambda: composer.picture((6000, 800), 5, 120, 300)),
        "huge": (6, lambda: composer.picture((5600, 4200), 5, 250, 1500)),
        "twelve": (6, lambda: composer.picture((4032, 3024), 6, 150, 800)),
        "close": (12, composer.close),
        "none": (25, lambda: composer.picture((1280, 960), 0, 1, 1)),
    }
    for kind in wanted or kinds:
        count, picture = kinds[kind]
        for number in range(count):
            yield f"{kind}/{number:02}.jpg", *picture()


def make(folder: Path, faces: Path, seed: int, kinds: Sequence[str] | None = None) -> None:
    with np.load(faces) as file:
        pixels = file["pixels"][file["usage"] == "PublicTest"].reshape(-1, 48, 48)
    folder.mkdir(parents=True)
    with (folder / LABELS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for name, picture, boxes in compose(Composer(pixels, seed), kinds):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
            for box in boxes:
                writer.writerow([name, box.x, box.y, box.width, box.height])
            if not boxes:
                writer.writerow([name, "", "", "", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detectors", nargs="+", choices=NAMES, help="default: all that are here")
    parser.add_argument("--sides", nargs="+", type=int, default=[STANDARD_SIDE])
    parser.add_argument(
        "--yunet", type=Path, default=os.environ.get("EMOTION_YUNET_MODEL"), help="its file, or EMOTION_YUNET_MODEL"
    )
    parser.add_argument("--make", action="store_true", help="write the folder first")
    parser.add_argument("--faces", type=Path, help="FER2013 as arrays: pixels, emotion, usage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the counts as JSON, too")
    arguments = parser.parse_args()
    if arguments.make:
        if arguments.faces is None:
            parser.error("--make needs --faces")
        make(arguments.folder, arguments.faces, arguments.seed)
    detectors: dict[str, FaceDetector] = {}
    for side in arguments.sides:
        here = open_detectors("auto", yunet=arguments.yunet, sha256=None, side=side, side_max=max(side, SIDE_MAX))
        for name in arguments.detectors or [name for name in NAMES if name in here.by_name]:
            if name not in here.by_name:
                parser.error(f"{name} is not here")
            detectors[f"{name} {side}"] = here.by_name[name]
    console = Console()
    counts = measure(arguments.folder, detectors, console)
    show(counts, console)
    if arguments.out is not None:
        found = {name: {group or "all": vars(count) for group, count in one.items()} for name, one in counts.items()}
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
