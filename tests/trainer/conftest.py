"""Synthetic faces: every class is a blob at a place of its own, so that a small model learns them in a few steps."""

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.contract import CLASSES, SIDE, to_input
from trainer.data.split import Split

CENTERS = [(10, 10), (10, 24), (10, 38), (24, 10), (24, 38), (38, 10), (38, 38)]


def make_split(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % len(CLASSES)).astype(np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for i, label in enumerate(labels):
        row, column = CENTERS[label]
        blob = 200 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)
        images[i] = np.clip(blob + rng.integers(0, 40, (SIDE, SIDE)), 0, 255)
    return Split(images, labels)


def csv_rows(split: Split, usage: str) -> str:
    return "".join(
        f"{label},{' '.join(map(str, image.ravel()))},{usage}\n"
        for image, label in zip(split.images, split.labels, strict=True)
    )


@pytest.fixture(scope="session")
def training() -> Split:
    return make_split(224, seed=1)


@pytest.fixture(scope="session")
def validation() -> Split:
    return make_split(70, seed=2)


@pytest.fixture(scope="session")
def fer_csv(tmp_path_factory: pytest.TempPathFactory, training: Split, validation: Split) -> Path:
    path = tmp_path_factory.mktemp("data") / "fer2013.csv.gz"
    text = "emotion,pixels,Usage\n" + csv_rows(training, "Training") + csv_rows(validation, "PublicTest")
    # Without the time, so that every worker writes the same file.
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


@pytest.fixture(scope="session")
def templates(training: Split) -> np.ndarray:
    """float32 [2304, 7]: as the kernel of `save_model`, the synthetic faces are read almost without a mistake."""
    faces = to_input(training.images).reshape(len(training), -1)
    means = np.stack([faces[training.labels == label].mean(axis=0) for label in range(len(CLASSES))], axis=1)
    return (means - means.mean(axis=1, keepdims=True)) / np.float32(50)


@pytest.fixture(scope="session")
def save_model() -> Callable[..., Path]:
    """save_model(path, kernel, classes=CLASSES) writes a linear classifier under the model contract."""
    import tensorflow as tf

    def save(path: Path, kernel: np.ndarray, classes: Sequence[str] = CLASSES) -> Path:
        module = tf.Module()
        module.kernel = tf.Variable(kernel)

        @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 1], tf.float32, name="faces")])
        def classify(faces: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = tf.nn.softmax(tf.reshape(faces, [-1, SIDE * SIDE]) @ module.kernel)
            return {"scores": scores, "classes": tf.broadcast_to(tf.constant(classes), tf.shape(scores))}

        module.classify = classify
        tf.saved_model.save(module, str(path), signatures={"serving_default": classify})
        return path

    return save


@pytest.fixture(scope="session")
def linear_models(
    tmp_path_factory: pytest.TempPathFactory, templates: np.ndarray, save_model: Callable[..., Path]
) -> Path:
    """A model's directory: version 1 mistakes about a third of the faces, version 2 hardly any."""
    home = tmp_path_factory.mktemp("models") / "linear"
    noise = np.random.default_rng(3).normal(scale=templates.std(), size=templates.shape)
    save_model(home / "1", (templates + 12 * noise).astype(np.float32))
    save_model(home / "2", templates)
    return home


@pytest.fixture(scope="session")
def model_server(linear_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of `python -m serving` with both versions of `linear`; the label `stable` is on version 1."""
    config = tmp_path_factory.mktemp("serving") / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "linear" base_path: "{linear_models}" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }'
    )
    command = [sys.executable, "-m", "serving", "--host=127.0.0.1", "--port=0", f"--model_config_file={config}"]
    command.append("--allow_version_labels_for_unavailable_models")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on "), line
        yield line.removeprefix("serving on ").strip()
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def faces() -> Callable[..., Split]:
    """make_split(count, seed): synthetic faces, the classes in turn; another seed gives other images."""
    return make_split


@pytest.fixture(scope="session")
def write_csv() -> Callable[[Path, Mapping[str, Split]], Path]:
    """Write splits, by their Usage, as Kaggle's CSV."""

    def write(path: Path, splits: Mapping[str, Split]) -> Path:
        rows = (csv_rows(split, usage) for usage, split in splits.items())
        path.write_text("emotion,pixels,Usage\n" + "".join(rows))
        return path

    return write


@pytest.fixture(scope="session")
def write_folder() -> Callable[[Path, Split], Path]:
    """Write a split as `<root>/<class>/<number>.png`, 48x48 grey."""

    def write(root: Path, split: Split) -> Path:
        for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            folder = root / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
        return root

    return write


QUICK = """\
model: random
model_args:
  spec:
    space: tutorial
    modules:
      - {filters: 8, kernel: 6, stride: 2, bias: true, activation: relu,
         norm_before: false, norm_after: false, dropout: 0}
      - {filters: 8, kernel: 20, stride: 1, bias: true, activation: relu,
         norm_before: false, norm_after: false, dropout: 0.1}
    pooling: average
epochs: 6
batch_size: 16
learning_rate: 0.004
weight_decay: 0.001
warmup_epochs: 0.5
label_smoothing: 0.05
ema: 0.9
augment: {flip: 0, rotation: 0, zoom: 0, shift: 2, erase: 0}
"""


@pytest.fixture(scope="session")
def quick_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of seconds: kernels so large that the network sees at once where the blob is."""
    path = tmp_path_factory.mktemp("configs") / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.fixture(scope="session")
def trainer() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m trainer` with these arguments."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trainer", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    return run


@pytest.fixture(scope="session")
def trained_run(
    make_once: Callable[[str, Callable[[Path], object]], Path],
    fer_csv: Path,
    quick_config: Path,
    trainer: Callable[..., subprocess.CompletedProcess[str]],
) -> Path:
    """A run directory that `train` wrote, of the quick config on the synthetic faces."""

    def train(folder: Path) -> None:
        arguments = ["quick", "--config", quick_config, "--data", fer_csv, "--out", folder / "quick"]
        done = trainer("train", *arguments)
        assert done.returncode == 0, done.stderr

    return make_once("runs", train) / "quick"
