"""A service with an experiment, and made-up traffic for its report."""

import random
import time
from pathlib import Path

import httpx

KEY = "a key of the tests"
FACE = (Path(__file__).parents[2] / "api/samples/face.jpg").read_bytes()

EXPERIMENTS = """
experiments:
  - name: bigger-network
    start: 2026-01-01T00:00:00Z
    end: 2100-01-01T00:00:00Z
    variants:
      - {name: small, model: residual, label: stable, weight: 50}
      - {name: big, model: random, label: stable, weight: 50}
  - name: next-one
    start: 2100-01-01T00:00:00Z
    variants:
      - {name: big, model: random, label: stable, weight: 90}
      - {name: small, model: residual, label: stable, weight: 10}
"""
# How often people say that an answer is right.
RIGHT = {"small": 0.6, "big": 0.78}


def settings(folder: Path) -> dict[str, str]:
    """Of a gateway whose operator knows KEY; its files are in `folder`."""
    (folder / "experiments.yaml").write_text(EXPERIMENTS)
    return {
        "EMOTION_ADMIN_KEY": KEY,
        "EMOTION_EXPERIMENTS": str(folder / "experiments.yaml"),
        "EMOTION_DATABASE_URL": f"sqlite:///{folder}/outcomes.db",
    }


def make_traffic(url: str, requests: int) -> None:
    """A prediction for each of as many subjects, and feedback on it."""
    chance = random.Random(1)
    with httpx.Client(base_url=url, timeout=60) as client:
        answers = []
        for number in range(requests):
            headers = {"Content-Type": "image/jpeg", "X-Subject-ID": f"visitor-{number}"}
            answer = client.post("/v1/predict", params={"crop": "none"}, content=FACE, headers=headers)
            answers.append(answer.raise_for_status().json())
        for answer in answers:
            right = chance.random() < RIGHT[answer["variant"]]
            _say(client, {"prediction_id": answer["id"], "face": 0, "correct": right})


def _say(client: httpx.Client, word: dict[str, object]) -> None:
    deadline = time.monotonic() + 60
    while True:
        answer = client.post("/v1/feedback", json=word, headers={"X-Admin-Key": KEY})
        # Predictions are stored behind their answers.
        if answer.status_code != 503 or time.monotonic() > deadline:
            answer.raise_for_status()
            return
        time.sleep(0.5)
