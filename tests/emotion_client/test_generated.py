"""A client that openapi-python-client makes of the OpenAPI document."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx

from emotion_client.emotions import CLASSES
from tests.api.gateway_process import GatewayProcess
from tests.api.model_server_process import ModelServer

PREDICT = """
import sys
from pathlib import Path

from generated import Client
from generated.api.predict import predict
from generated.types import File

photo = File(payload=Path(sys.argv[2]).read_bytes())
answer = predict.sync(client=Client(base_url=sys.argv[1]), body=photo)
print(len(answer.faces), answer.faces[0].emotion, answer.model.name)
"""
CONFIG = Path(__file__).resolve().parents[2] / "docs" / "openapi-python-client.yaml"


def test_it_is_made_without_a_warning_and_predicts(model_server: ModelServer, tmp_path: Path, two_faces: bytes) -> None:
    (tmp_path / "two.jpg").write_bytes(two_faces)
    with closing(GatewayProcess(tmp_path / "gateway", model_server=model_server.address)) as gateway:
        document = httpx.get(f"{gateway.url}/openapi.json")
        (tmp_path / "openapi.json").write_bytes(document.content)
        generator = [sys.executable, "-m", "openapi_python_client", "generate"]
        where = [
            "--path",
            tmp_path / "openapi.json",
            "--output-path",
            tmp_path / "generated",
            "--meta",
            "none",
            "--config",
            CONFIG,
        ]
        made = subprocess.run(
            [*generator, *where, "--meta", "none", "--fail-on-warning"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            # It formats what it makes, by the ruff that it finds there.
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        assert made.returncode == 0, made.stdout + made.stderr
        assert "arning" not in made.stdout + made.stderr
        # Two classes of one name get names with their modules in them, which are nobody's to type.
        assert not [name for name in document.json()["components"]["schemas"] if "__" in name]
        command = [sys.executable, "-c", PREDICT, gateway.url, tmp_path / "two.jpg"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    faces, emotion, model = done.stdout.split()
    assert (faces, model) == ("2", "residual")
    assert emotion in CLASSES
