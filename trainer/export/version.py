"""One version of a model in the repository: written aside, asked once, numbered, and found again."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from faces.contract import SIDE
from trainer.ensemble.combination import Combination
from trainer.errors import ExportError
from trainer.export.model_card import model_card
from trainer.files import write_json
from trainer.networks.scores import Scorer

# Largest difference of a score between Keras and the SavedModel.
TOLERANCE = 1e-4
TOLERANCE_HALF = 1e-2


def require_tensorflow() -> None:
    """Refuse to start what ends in an export on another Keras backend.

    Raises:
        ExportError: Keras runs on another backend than TensorFlow.
    """
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ExportError(
            f"only Keras on TensorFlow writes SavedModels, and this is Keras on {backend}; set KERAS_BACKEND=tensorflow"
        )


def write_version(
    combination: Combination,
    name: str,
    repository: Path,
    facts: Mapping[str, Any],
    *,
    half: bool = False,
    about: str = "",
) -> Path:
    """Write trained networks as the next free version of `name`: a SavedModel of the project's model contract.

    The version is built in a hidden directory beside its place and renamed, so that a server that watches the
    repository finds it whole or not at all.

    Args:
        combination: weights, views and temperature are baked in.
        name: model name, a directory of the repository.
        repository: the model repository.
        facts: what metrics.json and the model card report: config, metrics, data, versions (see `model_card`).
        half: store kernels as float16, to halve the size.
        about: a paragraph for the model card.

    Returns:
        The new version's directory. Its metrics.json has `facts`, and under `export` what the file itself is:
        `storage` (type of the kernels on disk), `bytes`, `largest_score_difference` from Keras.

    Raises:
        ExportError: the SavedModel answers otherwise than the combination (by more than 1e-4 of a score, 1e-2 with
            `half`); or the repository cannot be written.
    """
    # Not above: who calls `require_tensorflow` first may have none.
    import tensorflow as tf

    from trainer.evaluation.predictor import SavedModelPredictor
    from trainer.export.graph import Servable, write_warmup

    home = repository / name
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=home) as aside:
            partial = Path(aside, name)
            Servable(combination, half=half).save(partial)
            difference = _smoke_test(combination, SavedModelPredictor(partial).scores, half=half)
            write_warmup(partial, name)
            written = {
                **facts,
                "export": {
                    "storage": "float16" if half else "float32",
                    "bytes": sum(file.stat().st_size for file in partial.rglob("*") if file.is_file()),
                    "largest_score_difference": difference,
                    **({"about": about} if about else {}),
                },
            }
            write_json(partial / "metrics.json", written)
            return _publish(partial, home, written)
    except (OSError, tf.errors.OpError) as error:
        raise ExportError(f"{home}: cannot be written: {error}") from error


def _smoke_test(combination: Combination, score: Scorer, *, half: bool) -> float:
    """The largest difference of a score of a few random faces, now that the model is on disk."""
    faces = np.random.default_rng(0).uniform(-1, 1, (16, SIDE, SIDE, 1)).astype(np.float32)
    worst = float(np.abs(score(faces) - combination.scores(faces)).max())
    # Written so that NaN fails too.
    if not worst < (TOLERANCE_HALF if half else TOLERANCE):
        raise ExportError(f"the SavedModel's scores differ from the model's by {worst:.2g}; nothing was exported")
    return worst


def _publish(partial: Path, home: Path, facts: Mapping[str, Any]) -> Path:
    while True:
        version = next_version(home)
        (partial / "README.md").write_text(model_card(home.name, version, facts), encoding="utf-8")
        final = home / str(version)
        try:
            # Fails rather than replaces where another export took the number in the meantime.
            return partial.rename(final)
        except OSError:
            if not final.exists():
                raise


def find_version(facts: Mapping[str, Any], home: Path) -> Path | None:
    """The version in a model's directory that was exported with just these facts; None if there is none."""
    written = json.loads(json.dumps(facts))
    for file in sorted(home.glob("*/metrics.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        if file.parent.name.isdecimal() and {key: found.get(key) for key in written} == written:
            return file.parent
    return None


def next_version(home: Path) -> int:
    """One more than the largest version in a model's directory; versions only grow. 1 for an empty one."""
    return 1 + max((int(child.name) for child in home.iterdir() if child.name.isdecimal()), default=0)
