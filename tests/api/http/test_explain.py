"""POST /v1/explain, on SavedModels that say where they look."""

import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.api.model_server_process import ModelServer

# Version 1 cannot explain itself; version 2 looks at the upper left quarter of each crop.
SAVE = """
import sys, tensorflow as tf
classes = sys.argv[2].split(",")
class Tiny(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 1], tf.float32, name="faces")])
    def serve(self, faces):
        scores = tf.tile(tf.nn.softmax(tf.one_hot([3], 7) * 3), [tf.shape(faces)[0], 1])
        return {"scores": scores, "classes": tf.tile([classes], [tf.shape(faces)[0], 1])}
    @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 1], tf.float32, name="faces")])
    def explain(self, faces):
        corner = tf.cast(tf.range(48) < 24, tf.float32)
        heat = tf.tile((corner[:, None] * corner[None, :])[None], [tf.shape(faces)[0], 1, 1])
        return {"scores": self.serve(faces)["scores"], "heatmap": heat}
module = Tiny()
for version, signatures in ((1, {}), (2, {"explain": module.explain})):
    tf.saved_model.save(module, f"{sys.argv[1]}/{version}", signatures={"serving_default": module.serve, **signatures})
"""
CONFIG = """
model_config_list {{ config {{
  name: "residual" base_path: "{path}" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
}} }}
"""


@pytest.fixture(scope="module")
def explaining(make_once: Callable[[str, Callable[[Path], object]], Path], classes: list[str]) -> Path:
    def save(folder: Path) -> None:
        command = [sys.executable, "-c", SAVE, str(folder), ",".join(classes)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})

    return make_once("explaining", save)


@pytest.fixture
async def explainer(
    explaining: Path,
    tmp_path: Path,
    run_model_server: Callable[..., ModelServer],
    open_gateway: Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]],
) -> AsyncIterator[httpx.AsyncClient]:
    config = tmp_path / "models.config"
    config.write_text(CONFIG.format(path=explaining))
    server = run_model_server(f"--model_config_file={config}")
    async with open_gateway(model_server=server.address) as client:
        yield client


def opened(content: bytes) -> Image.Image:
    picture = Image.open(BytesIO(content))
    picture.load()
    return picture


async def test_each_face_has_its_heat_map(explainer: httpx.AsyncClient, two_faces: bytes) -> None:
    answer = await explainer.post("/v1/explain", files={"image": two_faces})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    predicted = (await explainer.post("/v1/predict", files={"file": two_faces})).json()
    assert set(body) == set(predicted) - {"id"}
    assert body["model"]["version"] == 2
    assert len(body["faces"]) == 2
    for face, plain in zip(body["faces"], predicted["faces"], strict=True):
        assert {name: face[name] for name in plain} == plain
        heat = opened(base64.b64decode(face["heatmap"]))
        assert (heat.format, heat.mode) == ("PNG", "RGBA")
        alpha = np.asarray(heat.getchannel("A"), float)
        rows, columns = np.nonzero(alpha > 60)
        assert rows.mean() < heat.height * 0.4
        assert columns.mean() < heat.width * 0.4
        box, place = face["box"], face["heatmap_box"]
        # FER2013's frame is about as high as the box and has its centre.
        assert abs(place["x"] + place["width"] / 2 - box["x"] - box["width"] / 2) < 0.15 * box["width"]
        assert 0.7 < place["height"] / box["height"] < 1.5


async def test_a_turned_head_has_its_heat_along_the_crop(
    explainer: httpx.AsyncClient, one_face: bytes, encode: Callable[..., bytes]
) -> None:
    portrait = Image.open(BytesIO(one_face)).convert("RGB")
    # Clockwise: the head leans to the right.
    leaning = encode(portrait.rotate(-35, expand=True, fillcolor=(128, 128, 128)), "PNG")
    [face] = (await explainer.post("/v1/explain", files={"file": leaning})).json()["faces"]
    assert face["roll"] == pytest.approx(35, abs=8)
    heat = opened(base64.b64decode(face["heatmap"]))
    rows, columns = np.nonzero(np.asarray(heat.getchannel("A")) > 60)
    # The crop's upper left quarter is turned towards the top: its middle was 45 degrees left of up and is now 10.
    x, y = columns.mean() - heat.width / 2, heat.height / 2 - rows.mean()
    assert np.degrees(np.arctan2(-x, y)) == pytest.approx(45 - face["roll"], abs=5)


async def test_accept_gets_the_picture_with_the_heat_on_it(explainer: httpx.AsyncClient, two_faces: bytes) -> None:
    png = {"accept": "image/png"}
    plain = await explainer.post("/v1/predict", files={"file": two_faces}, headers=png)
    hot = await explainer.post("/v1/explain", files={"file": two_faces}, headers=png)
    assert hot.headers["content-type"] == "image/png"
    difference = np.asarray(opened(hot.content), float) - np.asarray(opened(plain.content), float)
    assert 0.005 < (np.abs(difference).max(axis=2) > 30).mean() < 0.3
    refused = await explainer.post("/v1/explain", files={"file": two_faces}, headers={"accept": "text/html"})
    assert refused.status_code == 406


async def test_a_whole_photo_as_one_face_and_a_photo_without(
    explainer: httpx.AsyncClient, encode: Callable[..., bytes]
) -> None:
    photo = encode(Image.new("L", (60, 90), 100))
    [face] = (await explainer.post("/v1/explain?crop=none", files={"file": photo})).json()["faces"]
    assert face["heatmap_box"] == {"x": 0, "y": 0, "width": 60, "height": 90}
    none = await explainer.post("/v1/explain", files={"file": photo})
    assert (none.status_code, none.json()["faces"]) == (200, [])


async def test_a_version_that_cannot_explain_says_so(explainer: httpx.AsyncClient, one_face: bytes) -> None:
    response = await explainer.post("/v1/explain?version=1", files={"file": one_face})
    assert response.status_code == 501
    assert response.json()["type"].endswith(":not-explained")
    assert "1" in response.json()["detail"]
    unknown = await explainer.post("/v1/explain?version=9", files={"file": one_face})
    assert unknown.status_code == 404
