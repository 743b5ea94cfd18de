"""A model computes the same on every backend: what PyTorch trained, TensorFlow serves."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import sys
import keras
import numpy as np
from trainer.networks.networks import residual

path, weights = sys.argv[1:]
model = residual()
if weights == "write":
    rng = np.random.default_rng(0)
    positive = ("gamma", "variance")
    model.set_weights([
        rng.uniform(0.5, 1.5, w.shape) if any(name in w.path for name in positive) else rng.normal(0, 0.2, w.shape)
        for w in model.weights
    ])
    model.save_weights(path + ".weights.h5")
else:
    model.load_weights(path + ".weights.h5")
faces = np.random.default_rng(1).uniform(-1, 1, (8, 48, 48, 1)).astype("float32")
np.save(f"{path}-{keras.backend.backend()}.npy", model.predict(faces, verbose=0))
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_torch_and_tensorflow_give_the_same_logits(tmp_path: Path) -> None:
    for backend, weights in (("torch", "write"), ("tensorflow", "read")):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "model"), weights],
            env={**os.environ, "KERAS_BACKEND": backend},
            check=True,
            timeout=200,
        )
    torch, tensorflow = (np.load(tmp_path / f"model-{backend}.npy") for backend in ("torch", "tensorflow"))
    assert np.abs(torch).max() > 1
    np.testing.assert_allclose(tensorflow, torch, rtol=1e-3, atol=1e-3)
