"""From the prediction to the verdict, all over HTTP."""

from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from PIL import Image

from api.app import create_app
from api.settings import Settings
from tests.api.fake_model_server import answer, serve
from tests.api.in_process import in_process
from wire import serving_pb2 as pb

KEY = "a key of the tests"


async def test_predictions_and_feedback_make_a_report(
    database_url: str, tmp_path: Path, encode: Callable[..., bytes], classes: list[str]
) -> None:
    variants = [
        {"name": "old", "model": "residual", "version": 1, "weight": 1},
        {"name": "new", "model": "residual", "version": 2, "weight": 1},
    ]
    file = tmp_path / "experiments.yaml"
    file.write_text(
        yaml.safe_dump({"experiments": [{"name": "trial", "start": "2020-01-01T00:00:00Z", "variants": variants}]})
    )

    async def predict(request: pb.PredictRequest, _: grpc.aio.ServicerContext) -> pb.PredictResponse:
        version = request.model_spec.version.value
        scores = np.full((request.inputs["faces"].tensor_shape.dim[0].size, 7), 0.05, np.float32)
        # Version 1 always says disgust, version 2 fear.
        scores[:, version] = 0.7
        return answer(request, classes, scores, version)

    photo = encode(Image.new("L", (48, 48), 100))
    async with serve(predict) as server:
        settings = Settings(
            database_url=database_url,
            experiments=file,
            admin_key=KEY,
            subject_secret="s" * 16,
            model_server=server.address,
            # Nothing is written by itself during the test: feedback sees to it.
            outcome_flush_s=60,
            # One request is outside the experiment.
            record="all",
        )
        app = create_app(settings)
        async with in_process(app, headers={"X-Admin-Key": KEY}) as (client, _):
            assigned = []
            for subject in range(20):
                response = await client.post(
                    "/predict?crop=none", files={"file": photo}, headers={"X-Subject-ID": str(subject)}
                )
                body = response.json()
                assigned.append(body["variant"])
                given = await client.post("/feedback", json={"prediction_id": body["id"], "emotion": "fear"})
                assert given.status_code == 200, given.text
                assert given.json()["correct"] == (body["variant"] == "new")
            batch = await client.post(
                "/predict/batch?crop=none",
                files=[("files", photo), ("files", b"no image"), ("files", photo)],
                headers={"X-Variant": "new"},
            )
            # Its second face is that of the third file.
            given = await client.post(
                "/feedback", json={"prediction_id": batch.json()["id"], "face": 1, "correct": False}
            )
            assert given.json()["predicted"] == "fear"
            direct = await client.post("/predict?crop=none&version=1", files={"file": photo})
            given = await client.post("/feedback", json={"prediction_id": direct.json()["id"], "correct": True})
            assert given.json()["predicted"] == "disgust"
            report = (await client.get("/experiments/trial/report?fresh=true")).json()
    old, new = report["variants"]
    for one, name, rate in ((old, "old", 0), (new, "new", 1)):
        assert one["requests"] == one["faces"] == one["feedback"] == one["subjects"] == assigned.count(name)
        assert one["accuracy"]["value"] == rate
        assert [answer["requests"] for answer in one["answered_by"]] == [assigned.count(name)]
    assert report["split"]["observed"] == {"old": assigned.count("old"), "new": assigned.count("new")}
    assert new["emotions"]["fear"] == 1


@pytest.mark.parametrize(("record", "kept"), [("experiments", 0), ("all", 1)])
async def test_what_is_recorded_without_an_experiment(
    open_gateway: Callable, tmp_path: Path, encode: Callable[..., bytes], classes: list[str], record: str, kept: int
) -> None:
    async def predict(request: pb.PredictRequest, _: grpc.aio.ServicerContext) -> pb.PredictResponse:
        return answer(request, classes, np.full((1, 7), 1 / 7, np.float32), 1)

    # A database that cannot be had, here below a file, costs no prediction.
    (tmp_path / "file").write_text("")
    database = f"sqlite:///{tmp_path}/file/outcomes.db"
    photo = encode(Image.new("L", (48, 48), 100))
    async with (
        serve(predict) as server,
        open_gateway(model_server=server.address, database_url=database, record=record) as client,
    ):
        assert (await client.post("/predict?crop=none", files={"file": photo})).status_code == 200
        assert f"emotion_outcomes_buffered {kept}.0" in (await client.get("/metrics")).text
