"""Which variant a request gets, and what the answer and the records say about it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scipy.stats import binom

from api.experiments.config import parse
from api.outcomes.records import PredictionRecord
from api.outcomes.writer import OutcomeWriter
from tests.api.experiments.conftest import ADMIN, ADMIN_KEY, CONTROL, TREATMENT, Versions, WriteExperiment, metric


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[PredictionRecord]:
    """What is handed to the outcome store."""
    records: list[PredictionRecord] = []
    monkeypatch.setattr(OutcomeWriter, "record", lambda self, prediction: records.append(prediction))
    return records


async def test_an_answer_on_a_real_model_server(
    open_gateway: Callable,
    model_server: Any,
    write_experiment: WriteExperiment,
    two_faces: bytes,
    recorded: list[PredictionRecord],
    classes: list[str],
) -> None:
    async with open_gateway(model_server=model_server.address, experiments=write_experiment()) as client:
        response = await client.post("/predict", files={"file": two_faces}, headers={"X-Subject-ID": "alice"})
        body = response.json()
        assert body["experiment"] == "trial"
        assert body["model"]["version"] == {"old": 1, "new": 2}[body["variant"]]
        assert body["fallback"] is False
        faces, variant = len(body["faces"]), {"experiment": "trial", "variant": body["variant"]}
        assert faces == 2
        assert await metric(client, "emotion_experiment_requests_total", forced="false", **variant) == 1
        assert await metric(client, "emotion_experiment_faces_total", **variant) == faces
        assert await metric(client, "emotion_experiment_request_seconds_count", **variant) == 1
    [record] = recorded
    assert record.id == body["id"]
    assert (record.experiment, record.variant) == ("trial", body["variant"])
    [configured] = parse(write_experiment().read_bytes(), Path("experiments.yaml"), ["residual"]).experiments
    assert record.split == configured.split_id
    assert (record.model, record.version) == ("residual", body["model"]["version"])
    assert (record.subject, record.forced, record.fallback) == ("alice", False, False)
    assert record.created_at.utcoffset() is not None
    assert record.latency_ms > 0
    assert record.classes == tuple(classes)
    assert [face.emotion for face in record.faces] == [face["emotion"] for face in body["faces"]]
    for face, shown in zip(record.faces, body["faces"], strict=True):
        assert face.confidence == max(face.probabilities) == pytest.approx(shown["confidence"], abs=1e-5)


async def test_a_subject_keeps_its_variant_at_every_gateway(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    settings = {"model_server": versions.address, "experiments": write_experiment(), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings) as one, open_gateway(**settings) as other:
        variants = set()
        for subject in (f"user-{i}" for i in range(20)):
            answers = [(await ask(client, subject)).json()["variant"] for client in (one, other, one)]
            shown = await one.get("/experiments/trial/assignment", params={"subject": subject}, headers=ADMIN)
            assert {*answers, shown.json()["variant"]} == {answers[0]}
            variants.add(answers[0])
        assert variants == {"old", "new"}


async def test_without_a_subject_each_request_is_drawn(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    async with open_gateway(model_server=versions.address, experiments=write_experiment()) as client:
        # An empty subject is none: else all who send it would share a bucket.
        drawn = Counter([(await ask(client, subject)).json()["variant"] for subject in [None, ""] * 50])
    # Fails once in a million million runs.
    assert abs(drawn["new"] - 50) <= 50 - binom.ppf(1e-12, 100, 0.5)


async def test_the_subject_may_be_a_cookie(
    open_gateway: Callable, versions: Versions, write_experiment: WriteExperiment, ask: Callable
) -> None:
    path = write_experiment(subject={"cookie": "uid"})
    async with open_gateway(model_server=versions.address, experiments=path, admin_key=ADMIN_KEY) as client:
        for subject in (f"user-{i}" for i in range(10)):
            body = (await ask(client, "someone else", headers={"Cookie": f"theme=dark; uid={subject}"})).json()
            shown = await client.get("/experiments/trial/assignment", params={"subject": subject}, headers=ADMIN)
            assert body["variant"] == shown.json()["variant"]


@pytest.mark.parametrize("query", ["&model=residual", "&version=1", "&label=stable"])
async def test_naming_a_target_bypasses_the_split(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    query: str,
    recorded: list[PredictionRecord],
) -> None:
    versions.labels["stable"] = 1
    settings = {"experiments": write_experiment(), "record": "all"}
    async with open_gateway(model_server=versions.address, **settings) as client:
        body = (await ask(client, "alice", query=query)).json()
        assert (body["experiment"], body["variant"], body["fallback"]) == (None, None, False)
        refused = await ask(client, query=query, headers={"X-Variant": "new"})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "X-Variant"
    [record] = recorded
    assert (record.experiment, record.variant, record.forced, record.subject) == (None, None, False, None)


async def test_testers_force_a_variant(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    recorded: list[PredictionRecord],
) -> None:
    # A weight of 0 leaves a variant to those who force it.
    path = write_experiment(variants=[CONTROL, TREATMENT | {"weight": 0}])
    async with open_gateway(model_server=versions.address, experiments=path) as client:
        body = (await ask(client, "alice", headers={"X-Variant": "new"})).json()
        assert (body["experiment"], body["variant"], body["model"]["version"]) == ("trial", "new", 2)
        labels = {"experiment": "trial", "variant": "new", "forced": "true"}
        assert await metric(client, "emotion_experiment_requests_total", **labels) == 1
        unknown = await ask(client, headers={"X-Variant": "newer"})
        assert unknown.status_code == 422
        [error] = unknown.json()["errors"]
        assert error["field"] == "X-Variant"
        assert "old, new" in error["message"]
    assert [record.forced for record in recorded] == [True]


@pytest.mark.parametrize(
    ("window", "state"),
    [
        ({"start": "2999-01-01T00:00:00Z"}, "scheduled"),
        ({}, "running"),
        ({"end": "2020-02-01T00:00:00Z"}, "ended"),
    ],
)
async def test_only_a_running_experiment_takes_requests(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    ask: Callable,
    window: dict[str, str],
    state: str,
) -> None:
    settings = {"model_server": versions.address, "experiments": write_experiment(**window), "admin_key": ADMIN_KEY}
    async with open_gateway(**settings) as client:
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        assert listed["state"] == state
        body = (await ask(client, "alice")).json()
        assert body["experiment"] == ("trial" if state == "running" else None)
        forced = await ask(client, headers={"X-Variant": "new"})
        assert forced.status_code == (200 if state == "running" else 422)
        assert state == "running" or "no experiment is running" in forced.json()["detail"]


async def test_a_batch_is_one_request(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    encode: Callable[..., bytes],
    recorded: list[PredictionRecord],
) -> None:
    image = encode(Image.new("L", (48, 48)))
    files = [("files", image), ("files", b"no image"), ("files", image)]
    async with open_gateway(model_server=versions.address, experiments=write_experiment()) as client:
        headers = {"X-Subject-ID": "alice", "X-Variant": "new"}
        body = (await client.post("/predict/batch?crop=none", files=files, headers=headers)).json()
        assert (body["experiment"], body["variant"], body["fallback"]) == ("trial", "new", False)
        assert body["model"]["version"] == 2
    [record] = recorded
    assert (record.id, len(record.faces), record.variant) == (body["id"], 2, "new")


async def test_requests_that_fail_are_not_recorded(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    recorded: list[PredictionRecord],
) -> None:
    async with open_gateway(model_server=versions.address, experiments=write_experiment()) as client:
        assert (await client.post("/predict", files={"file": b"no image"})).status_code == 415
        assert "emotion_experiment_requests_total{" not in (await client.get("/metrics")).text
    assert recorded == []


async def test_experiments_are_listed(open_gateway: Callable, write_experiment: WriteExperiment) -> None:
    path = write_experiment(
        variants=[CONTROL | {"weight": 3}, TREATMENT | {"weight": 1}],
        end="2999-01-01T00:00:00Z",
        shadow=[{"name": "next", "model": "residual", "label": "canary", "share": 0.25}],
    )
    async with open_gateway(experiments=path, admin_key=ADMIN_KEY) as client:
        [listed] = (await client.get("/experiments", headers=ADMIN)).json()["experiments"]
        unknown = await client.get("/experiments/other/assignment?subject=a", headers=ADMIN)
    assert {key: listed[key] for key in ("name", "state", "start", "end", "subject", "control")} == {
        "name": "trial",
        "state": "running",
        "start": "2020-01-01T00:00:00Z",
        "end": "2999-01-01T00:00:00Z",
        "subject": {"header": "X-Subject-ID", "cookie": None},
        "control": "old",
    }
    assert listed["variants"] == [
        CONTROL | {"label": None, "weight": 3, "share": 0.75, "circuit": "closed"},
        TREATMENT | {"label": None, "weight": 1, "share": 0.25, "circuit": "closed"},
    ]
    [shadow] = listed["shadow"]
    assert (shadow["name"], shadow["label"], shadow["share"], shadow["agreement"]) == ("next", "canary", 0.25, None)
    assert unknown.status_code == 404
    assert unknown.json()["available"] == ["trial"]


@pytest.mark.parametrize("source", ["header", "cookie"])
async def test_a_subject_that_is_not_ascii_is_one_subject_everywhere(
    open_gateway: Callable,
    versions: Versions,
    write_experiment: WriteExperiment,
    face: dict[str, bytes],
    recorded: list[PredictionRecord],
    source: str,
) -> None:
    given = {"header": "X-Subject-ID"} if source == "header" else {"cookie": "who"}
    settings = {"experiments": write_experiment(subject=given), "admin_key": ADMIN_KEY}
    subjects = [f"Zo\u00eb-{number}" for number in range(20)] + ["\u5199\u771f", "\U0001f600", "\u00df"]
    async with open_gateway(model_server=versions.address, **settings) as client:

        async def post(subject: bytes) -> Any:
            header = (b"X-Subject-ID", subject) if source == "header" else (b"Cookie", b"a=b; who=" + subject)
            return await client.post("/predict?crop=none", files=face, headers=[header])

        for subject in subjects:
            variant = (await post(subject.encode())).json()["variant"]
            path = "/experiments/trial/assignment"
            by_query = await client.get(path, params={"subject": subject}, headers=ADMIN)
            assert by_query.json()["variant"] == variant
        assert [record.subject for record in recorded] == subjects

        for bad in (b"Zo\xeb", b"\xff", b"\xed\xa0\x80"):
            response = await post(bad)
            assert response.status_code == 422
            [error] = response.json()["errors"]
            assert error == {"field": given.get("header", "who"), "message": "is not UTF-8"}
        for bad in ("Zo%EB", "%FF", "%ED%A0%80"):
            response = await client.get(f"{path}?subject={bad}", headers=ADMIN)
            assert response.status_code == 422
