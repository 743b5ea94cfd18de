"""All the data of one training: any mixture of Kaggle CSVs and image folders, with FER+ votes where there are some."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from faces.contract import CLASSES
from trainer.data.duplicates import leaked
from trainer.data.fer2013 import read_arrays, read_fer2013
from trainer.data.folder import read_folder
from trainer.data.split import SPLITS, Split, concatenate
from trainer.errors import ConfigError, DataError
from trainer.files import require_text_name, sha256


@dataclass(frozen=True)
class Source:
    """Where images or votes came from."""

    # Of the file or folder, without its directory.
    name: str
    # Hex digest of the file, or of all names and contents in the folder.
    sha256: str
    # How many it gave.
    images: int


@dataclass(frozen=True)
class Dataset:
    """What a training reads."""

    # By name, in the order of `SPLITS`; only those that have images.
    splits: dict[str, Split]
    # In the order given.
    sources: tuple[Source, ...] = ()
    # The FER+ file, if one was given.
    votes: Source | None = None
    # Images left out of Training because they also stand in a split that is held out.
    leaked: int = 0

    def require(self, *names: str) -> tuple[Split, ...]:
        """These splits.

        Raises:
            DataError: one of them has no images; names it and the sources.
        """
        for name in names:
            if name not in self.splits:
                where = Path(", ".join(source.name for source in self.sources) or "the data")
                raise DataError(where, f"no {name} images; there are: {', '.join(self.splits) or 'none'}")
        return tuple(self.splits[name] for name in names)

    def without_leaks(self) -> "Dataset":
        """The same, less the Training images that also stand, pixel for pixel, in PublicTest or PrivateTest.

        A model is judged on those splits; what it was trained on would flatter it. An image that they share, and
        copies within a split, stay.
        """
        if "Training" not in self.splits:
            return self
        training = self.splits["Training"]
        out = leaked(training, [split for name, split in self.splits.items() if name != "Training"])
        if not out.any():
            return self
        splits = {**self.splits, "Training": training.take(~out)}
        return replace(
            self,
            splits={name: split for name, split in splits.items() if len(split)},
            leaked=self.leaked + int(out.sum()),
        )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What to write beside a model, ready for JSON.

        `sources` and `votes` (name, sha256, images of each), `sha256` (digest of the pixels, labels and votes of every
        split: equal for equal data, however it was packed), `public_test_sha256` (of PublicTest's pixels and labels
        alone), `training_images`, `leaked`.
        """
        digest, public_test = hashlib.sha256(), hashlib.sha256()
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split)} {split.votes is not None}\n".encode())
            for array in (split.images, split.labels, split.votes):
                if array is not None:
                    digest.update(np.ascontiguousarray(array).data)
            if name == "PublicTest":
                for array in (split.images, split.labels):
                    public_test.update(np.ascontiguousarray(array).data)
        return {
            "sources": [asdict(source) for source in self.sources],
            "votes": self.votes and asdict(self.votes),
            "sha256": digest.hexdigest(),
            "public_test_sha256": public_test.hexdigest(),
            "training_images": len(self.splits.get("Training", ())),
            "leaked": self.leaked,
        }


def load(sources: Sequence[Path], *, class_map: Mapping[str, str] | None = None, votes: Path | None = None) -> Dataset:
    """Read all sources and leave out of Training what also stands in a split that is held out.

    Args:
        sources: Kaggle CSVs (plain, .gz, .zip) or their arrays (.npz; see `fer2013`), and folders of images (see
            `folder`), in any mixture.
        class_map: class folder names that are not ours -> ours.
        votes: FER+'s fer2013new.csv, row for row beside the first CSV of `sources`. Other faces have no votes.

    Raises:
        DataError: a source cannot be trusted; names file, line where there is one, and reason.
        ConfigError: `class_map` maps to a class that does not exist.
    """
    return read_all(sources, class_map=class_map, votes=votes).without_leaks()


def read_all(
    sources: Sequence[Path], *, class_map: Mapping[str, str] | None = None, votes: Path | None = None
) -> Dataset:
    """As `load`, but with every image that the sources hold."""
    class_map = class_map or {}
    for foreign, ours in class_map.items():
        if ours not in CLASSES:
            raise ConfigError(f"class map {foreign}={ours}: {ours!r} is not one of {', '.join(CLASSES)}")
    parts: dict[str, list[Split]] = {name: [] for name in SPLITS}
    found: list[Source] = []
    voted: Source | None = None
    for path in (*sources, *([votes] if votes else [])):
        require_text_name(path)
    for path in sources:
        its_votes = None
        if path.is_dir():
            splits, digest = read_folder(path, class_map)
        else:
            its_votes = votes if voted is None else None
            splits = (read_arrays if path.suffix.lower() == ".npz" else read_fer2013)(path, its_votes)
            digest = sha256(path)
        found.append(Source(path.resolve().name, digest, sum(map(len, splits.values()))))
        if its_votes is not None:
            voted = Source(its_votes.name, sha256(its_votes), found[-1].images)
        for name, split in splits.items():
            parts[name].append(split)
    if votes is not None and voted is None:
        raise DataError(votes, "FER+ votes go row by row with a Kaggle CSV or its arrays, and none was given")
    return Dataset({name: concatenate(some) for name, some in parts.items() if some}, tuple(found), voted)
