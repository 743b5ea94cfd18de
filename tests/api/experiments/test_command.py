"""`python -m api.experiments`: what a gateway would say to a file, before it is applied."""

import json
import os
import subprocess
import sys

EXPERIMENT = """experiments:
  - name: newer
    start: 2026-01-01T00:00:00Z
    variants:
      - {name: old, model: residual, label: stable, weight: 9}
      - {name: new, model: residual, version: 2, weight: 1}
"""


def run(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api.experiments"]
    return subprocess.run(
        command, input=text, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_a_valid_file_comes_back_with_what_it_leaves_out() -> None:
    done = run(EXPERIMENT)
    assert (done.returncode, done.stderr) == (0, "")
    [experiment] = json.loads(done.stdout)["experiments"]
    assert (experiment["control"], experiment["end"], experiment["shadow"]) == ("old", None, [])


def test_each_problem_is_a_line() -> None:
    done = run(EXPERIMENT, EMOTION_MODELS="random,ensemble")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["experiments.yaml", f"experiments[0].variants[{number}].model"] for number in (0, 1)
    ]


def test_models_that_cannot_be_read_are_one_line() -> None:
    done = run(EXPERIMENT, EMOTION_MODELS='["random"')
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("EMOTION_MODELS: ")
