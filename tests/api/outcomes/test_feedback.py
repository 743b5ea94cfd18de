"""POST /feedback, from the HTTP request to the database and back."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.app import create_app
from api.outcomes import tables
from api.outcomes.feedback import take_feedback
from api.outcomes.ids import new_id
from api.outcomes.retention import prune
from api.settings import Settings
from tests.api.in_process import in_process

KEY = "a key of the tests"


async def test_feedback_on_a_prediction_that_is_not_yet_written(gateway: Any, make: Callable, rows: Callable) -> None:
    client, outcomes = gateway
    prediction = make("happy", "sad", subject="anna")
    outcomes.record(prediction)
    given = {"prediction_id": prediction.id, "face": 1, "emotion": "fear"}
    response = await client.post("/feedback", json=given)
    assert response.status_code == 200, response.text
    body = response.json()
    received = datetime.fromisoformat(body.pop("received_at"))
    assert body == given | {"correct": False, "predicted": "sad"}
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)
    [stored] = await rows(outcomes, tables.feedback)
    assert (stored.prediction_id, stored.face, stored.emotion, stored.correct) == (prediction.id, 1, "fear", False)


async def test_the_last_one_wins_and_repeating_changes_nothing(gateway: Any, make: Callable, rows: Callable) -> None:
    client, outcomes = gateway
    prediction = make("happy")
    outcomes.record(prediction)
    for say, correct, emotion in (
        ({"emotion": "sad"}, False, "sad"),
        ({"emotion": "happy"}, True, "happy"),
        ({"emotion": "happy"}, True, "happy"),
        ({"correct": False}, False, None),
    ):
        response = await client.post("/feedback", json={"prediction_id": prediction.id, **say})
        assert response.status_code == 200
        [stored] = await rows(outcomes, tables.feedback)
        assert (stored.face, stored.correct, stored.emotion) == (0, correct, emotion)


async def test_concurrent_duplicates_leave_one(gateway: Any, make: Callable, rows: Callable) -> None:
    client, outcomes = gateway
    prediction = make("happy")
    outcomes.record(prediction)
    says = [{"prediction_id": prediction.id, "emotion": name} for name in ("happy", "sad") * 20]
    responses = await asyncio.gather(*(client.post("/feedback", json=say) for say in says))
    assert {response.status_code for response in responses} == {200}
    [stored] = await rows(outcomes, tables.feedback)
    assert stored.correct == (stored.emotion == "happy")


@pytest.mark.parametrize("wrong", ["", "x", "0" * 32, "f" * 32, "é" * 32])
async def test_what_is_no_id_is_unknown(gateway: Any, wrong: str) -> None:
    client, _ = gateway
    response = await client.post("/feedback", json={"prediction_id": wrong, "correct": True})
    assert response.status_code == 404
    assert response.json()["type"].endswith(":unknown-prediction")


async def test_unknown_past_and_future_predictions(gateway: Any, make: Callable) -> None:
    client, outcomes = gateway
    now = datetime.now(UTC)
    for moment, status, problem in (
        (now - timedelta(days=1), 404, "unknown-prediction"),
        (now + timedelta(days=1), 404, "unknown-prediction"),
        (now - timedelta(days=89, hours=23), 404, "unknown-prediction"),
        (now - timedelta(days=90, minutes=1), 410, "prediction-expired"),
    ):
        response = await client.post("/feedback", json={"prediction_id": new_id(moment), "correct": True})
        assert response.status_code == status
        assert response.json()["type"].endswith(f":{problem}")
    assert response.json()["limit"] == 90

    # Expired means expired, whether or not the retention job has come by already.
    old = make(created_at=now - timedelta(days=91))
    await outcomes.store.add([old])
    assert (await client.post("/feedback", json={"prediction_id": old.id, "correct": True})).status_code == 410
    await prune(outcomes.store, 90)
    assert (await client.post("/feedback", json={"prediction_id": old.id, "correct": True})).status_code == 410


@pytest.mark.parametrize(
    ("say", "field", "reason"),
    [
        ({"face": 2, "correct": True}, "face", "the prediction has 2 faces"),
        ({"face": -1, "correct": True}, "face", "greater than or equal to 0"),
        ({"face": 2**40, "correct": True}, "face", "less than"),
        ({"emotion": "bored"}, "emotion", "none of angry, disgust, fear, happy, sad, surprise, neutral"),
        ({}, "body", "exactly one of emotion and correct"),
        ({"emotion": "happy", "correct": True}, "body", "exactly one of emotion and correct"),
        ({"correct": "yes"}, "correct", "boolean"),
        ({"correct": True, "comment": "x"}, "comment", "not permitted"),
    ],
)
async def test_what_is_wrong_is_named(gateway: Any, make: Callable, say: dict, field: str, reason: str) -> None:
    client, outcomes = gateway
    prediction = make("happy", "sad")
    outcomes.record(prediction)
    response = await client.post("/feedback", json={"prediction_id": prediction.id, **say})
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert reason in error["message"]


async def test_a_prediction_without_a_face(gateway: Any, make: Callable) -> None:
    client, outcomes = gateway
    prediction = make(faces=(), classes=())
    outcomes.record(prediction)
    response = await client.post("/feedback", json={"prediction_id": prediction.id, "correct": True})
    assert response.status_code == 422
    assert "has 0 faces" in response.json()["detail"]


async def test_it_needs_the_key(gateway: Any) -> None:
    client, _ = gateway
    response = await client.post("/feedback", json={}, headers={"X-Admin-Key": "wrong"})
    assert response.status_code == 401


async def test_it_is_counted(gateway: Any, make: Callable) -> None:
    client, outcomes = gateway
    prediction = make("happy")
    outcomes.record(prediction)
    await client.post("/feedback", json={"prediction_id": prediction.id, "correct": True})
    series = 'emotion_feedback_total{correct="true",experiment="race",variant="a"} 1.0'
    assert series in (await client.get("/metrics")).text


async def test_another_replica_may_not_have_written_it_yet(
    open_store: Callable, make: Callable, database_url: str
) -> None:
    async with open_store(outcome_flush_s=1) as one, open_store(outcome_flush_s=60) as other:
        prediction = make("happy")
        one.record(prediction)
        feedback, _ = await take_feedback(other, prediction.id, 0, emotion="happy", correct=None)
    assert feedback.correct


@pytest.mark.parametrize(("age_s", "status"), [(-30, 503), (0, 503), (170, 503), (190, 404), (-90, 404)])
async def test_an_id_of_which_nobody_can_say_yet_that_it_is_unknown(gateway: Any, age_s: float, status: int) -> None:
    """Another replica may be slow: it flushes after 60 seconds at the latest, and may have a minute's backlog."""
    client, _ = gateway
    missing = new_id(datetime.now(UTC) - timedelta(seconds=age_s))
    response = await client.post("/feedback", json={"prediction_id": missing, "correct": True})
    assert response.status_code == status
    assert ("retry-after" in response.headers) == (status == 503)


async def test_a_dead_database_is_a_503(make: Callable, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/file/outcomes.db", admin_key=KEY, model_server="127.0.0.1:9"
    )
    app = create_app(settings)
    async with in_process(app, headers={"X-Admin-Key": KEY}) as (client, state):
        prediction = make("happy")
        state["outcomes"].record(prediction)
        given = {"prediction_id": prediction.id, "correct": True}
        for response in (await client.post("/feedback", json=given), await client.get("/experiments/race/report")):
            assert response.status_code == 503
            assert response.json()["type"].endswith(":outcomes-unavailable")
            assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"a"', "line 1 column 4"),
        (b"", "body"),
        (b'{"prediction_id": "x",}', "line 1 column 23"),
        (b'{"prediction_id": "\xff"}', "line 1 column 20"),
        (b"[" * 50_000, "recursion limit"),
        (b'{"face": ' + b"1" * 5000 + b"}", "number out of range"),
        (b'{"\\ud800": 1}', "line 1 column 9"),
        (b"{" + b",".join(b'"%d":1' % number for number in range(5000)) + b"}", "more"),
    ],
)
async def test_a_body_that_cannot_be_read_is_told_where(gateway: Any, body: bytes, place: str) -> None:
    client, _ = gateway
    headers = {"content-type": "application/json"}
    response = await client.post("/feedback", content=body, headers=headers)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert place in response.json()["detail"]
    assert len(response.content) < 3000
    large = await client.post("/feedback", content=bytes(70_000), headers=headers)
    assert (large.status_code, large.json()["limit"]) == (413, 65536)
