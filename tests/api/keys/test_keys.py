"""Callers' keys: who gets in, with what, how often, and what is said of it."""

import asyncio
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from api.config_file.document import ConfigFileError
from api.errors import TooManyGuesses
from api.keys.__main__ import app as command
from api.keys.file import entry, new_key, parse_keys
from api.keys.guesses import Guesses
from tests.api.experiments.conftest import metric, until
from tests.api.gateway_process import GatewayProcess

SHOP, TESTER, ANALYST, ROOT = (new_key() for _ in range(4))


def write(path: Path, **limits: Any) -> Path:
    entries = [
        entry("shop", SHOP, ["predict"]).model_dump(mode="json") | limits,
        entry("tester", TESTER, ["predict", "test"]).model_dump(mode="json"),
        entry("analyst", ANALYST, ["report"]).model_dump(mode="json"),
        entry("root", ROOT, ["admin"]).model_dump(mode="json"),
    ]
    path.write_text(yaml.safe_dump({"keys": entries}))
    return path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write(tmp_path / "keys.yaml")


@pytest.fixture(scope="module")
def face(encode: Callable[..., bytes]) -> dict[str, bytes]:
    return {"file": encode(Image.new("L", (48, 48), 100))}


@pytest.fixture
def post(face: dict[str, bytes]) -> Callable[..., Any]:
    async def run(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> httpx.Response:
        return await client.post("/v1/predict?crop=none", files=face, headers=headers or {})

    return run


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": SHOP},
        {"Authorization": f"Bearer {SHOP}"},
        {"Authorization": f"bearer  {SHOP}"},
        {"X-Admin-Key": ROOT},
        {"X-API-Key": "the key of the setting"},
    ],
)
async def test_a_key_of_the_scope_gets_in(
    open_gateway: Callable, model_server: Any, keys: Path, post: Callable, headers: dict[str, str]
) -> None:
    settings = {"model_server": model_server.address, "keys_file": keys, "admin_key": "the key of the setting"}
    async with open_gateway(**settings) as client:
        response = await post(client, headers)
        assert response.status_code == 200, response.text
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "slug"),
    [
        ({}, 401, "unauthorized"),
        ({"X-API-Key": "wrong"}, 401, "unauthorized"),
        ({"X-API-Key": ""}, 401, "unauthorized"),
        ({"X-API-Key": "Schlüssel"}, 401, "unauthorized"),
        ({"Authorization": f"Basic {SHOP}"}, 401, "unauthorized"),
        ({"X-API-Key": ANALYST}, 403, "forbidden"),
    ],
)
async def test_who_has_no_such_key_is_told_before_the_body_is_read(
    open_gateway: Callable, keys: Path, headers: dict[str, str], status: int, slug: str
) -> None:
    given = {name: value.encode() for name, value in headers.items()}
    async with open_gateway(keys_file=keys) as client:
        for path in ("/v1/predict", "/predict", "/v1/predict/batch"):
            # It is no image at all.
            response = await client.post(path, content=b"x", headers=given)
            assert response.status_code == status, response.text
            assert response.json()["type"].endswith(f":{slug}")
            assert ("www-authenticate" in response.headers) == (status == 401)
        for path in ("/healthz", "/metrics", "/", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_scopes_are_kept_apart(open_gateway: Callable, keys: Path) -> None:
    async with open_gateway(keys_file=keys) as client:

        async def status(method: str, path: str, key: str) -> int:
            return (await client.request(method, path, headers={"X-API-Key": key}, json={})).status_code

        assert await status("GET", "/v1/experiments", SHOP) == 403
        assert await status("GET", "/v1/experiments", ANALYST) == 403
        assert await status("GET", "/v1/experiments", ROOT) == 200
        assert await status("GET", "/v1/experiments/none/report", ANALYST) == 404
        assert await status("GET", "/v1/experiments/none/report", SHOP) == 403
        assert await status("POST", "/v1/feedback", ANALYST) == 403
        assert await status("POST", "/v1/feedback", ROOT) == 422


async def test_variants_are_named_by_testers_alone(
    open_gateway: Callable, versions: Any, write_experiment: Callable, keys: Path, post: Callable
) -> None:
    path = write_experiment()
    path.write_text(path.read_text().replace("forced: open", ""))
    async with open_gateway(model_server=versions.address, experiments=path, keys_file=keys) as client:
        refused = await post(client, {"X-API-Key": SHOP, "X-Variant": "new"})
        assert (refused.status_code, refused.json()["scope"]) == (403, "test")
        assert (await post(client, {"X-API-Key": TESTER, "X-Variant": "new"})).json()["variant"] == "new"
    async with open_gateway(model_server=versions.address, experiments=path) as client:
        assert (await post(client, {"X-Variant": "new"})).status_code == 403
        assert (await post(client)).status_code == 200


async def test_a_rate_and_what_is_left_of_it(
    open_gateway: Callable, model_server: Any, tmp_path: Path, post: Callable
) -> None:
    path = write(tmp_path / "keys.yaml", rate="2/hour")
    async with open_gateway(model_server=model_server.address, keys_file=path) as client:
        for left in (1, 0):
            response = await post(client, {"X-API-Key": SHOP})
            assert response.status_code == 200, response.text
            assert response.headers["ratelimit-policy"] == '"shop";q=2;w=3600'
            assert f'"shop";r={left};t=' in response.headers["ratelimit"]
        refused = await post(client, {"X-API-Key": SHOP})
        assert (refused.status_code, refused.json()["limit"]) == (429, 2)
        assert refused.json()["type"].endswith(":rate-limited")
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert '"shop";r=0' in refused.headers["ratelimit"]
        assert (await post(client, {"X-API-Key": TESTER})).status_code == 200
        assert await metric(client, "emotion_key_requests_total", key="tester") == 1


async def test_requests_at_a_time(
    open_gateway: Callable, versions: Any, tmp_path: Path, face: dict[str, bytes]
) -> None:
    held = asyncio.Event()

    async def wait(_: Any) -> None:
        await held.wait()

    versions.faults[1] = wait
    path = write(tmp_path / "keys.yaml", concurrency=1)
    async with open_gateway(model_server=versions.address, keys_file=path) as client:

        async def ask() -> httpx.Response:
            query = "/v1/predict?crop=none&model=residual&version=1"
            return await client.post(query, files=face, headers={"X-API-Key": SHOP})

        first = asyncio.create_task(ask())

        async def asked() -> bool:
            return len(versions.asked(1)) == 1

        await until(asked)
        refused = await ask()
        assert (refused.status_code, refused.json()["limit"]) == (429, 1)
        held.set()
        assert (await first).status_code == 200
        assert (await ask()).status_code == 200


async def test_an_edit_is_taken_up_and_a_broken_one_is_not(open_gateway: Callable, keys: Path) -> None:
    async with open_gateway(keys_file=keys, keys_poll_s=0.02) as client:
        assert (await client.get("/v1/experiments", headers={"X-API-Key": ROOT})).status_code == 200
        await asyncio.to_thread(keys.write_text, "keys: 5")

        async def refused() -> bool:
            return await metric(client, "emotion_keys_config_valid") == 0

        await until(refused)
        assert (await client.get("/v1/experiments", headers={"X-API-Key": ROOT})).status_code == 200
        await asyncio.to_thread(keys.write_text, "keys: []")

        async def gone() -> bool:
            return (await client.get("/v1/experiments", headers={"X-API-Key": ROOT})).status_code == 401

        await until(gone)


async def test_a_key_past_its_time(open_gateway: Callable, tmp_path: Path, post: Callable) -> None:
    path = write(tmp_path / "keys.yaml", expires="2020-01-01T00:00:00Z")
    async with open_gateway(keys_file=path) as client:
        refused = await post(client, {"X-API-Key": SHOP})
        assert refused.status_code == 401
        assert "expired" in refused.json()["detail"]


async def test_guessing_takes_longer_and_longer(open_gateway: Callable, keys: Path, post: Callable) -> None:
    async with open_gateway(keys_file=keys) as client:
        statuses = [(await post(client, {"X-API-Key": f"guess {number}"})).status_code for number in range(20)]
        assert statuses[:6] == [401] * 6
        assert statuses[6:] == [429] * 14
        # The right one would tell by its answer that it is right.
        held_back = await post(client, {"X-API-Key": SHOP})
        assert (held_back.status_code, held_back.headers["retry-after"]) == (429, "2")
        assert held_back.json()["type"].endswith(":too-many-guesses")


def test_waits_grow_by_network_and_are_forgotten() -> None:
    now = 0.0
    guesses = Guesses(clock=lambda: now)
    for _ in range(6):
        guesses.note_wrong("2001:db8::1")
    with pytest.raises(TooManyGuesses):
        guesses.require_patience("2001:db8::ffff")
    guesses.require_patience("2001:db8:0:1::1")
    guesses.require_patience("192.0.2.1")
    for _ in range(20):
        guesses.note_wrong("2001:db8::1")
    now += 59
    with pytest.raises(TooManyGuesses):
        guesses.require_patience("2001:db8::1")
    now += 700
    guesses.note_wrong("2001:db8::1")
    guesses.require_patience("2001:db8::1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keys: [{name: a, sha256: x, scopes: [predict]}]", "keys[0].sha256"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', scopes: [all]}}]", "keys[0].scopes"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', scopes: [predict], rate: fast}}]", "keys[0].rate: 'fast' is no"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', scopes: []}}]", "keys[0].scopes"),
        (f"keys: [{', '.join(['{name: a, sha256: ' + repr('0' * 64) + ', scopes: [test]}'] * 2)}]", "'a' is there"),
        ("- a", "must be a mapping with the key 'keys'"),
        ("keys: [", "not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(content: str, message: str) -> None:
    with pytest.raises(ConfigFileError) as refused:
        parse_keys(content.encode(), Path("keys.yaml"))
    assert message in str(refused.value)
    assert str(refused.value).startswith("keys.yaml: ")


def test_the_command_makes_a_key_and_its_entry(tmp_path: Path) -> None:
    made = CliRunner().invoke(command, ["new", "shop", "--scope", "predict", "--scope", "feedback"])
    assert made.exit_code == 0, made.output
    key = made.stderr.splitlines()[0]
    document = "keys:\n" + made.stdout
    [parsed] = parse_keys(document.encode(), tmp_path).keys
    assert parsed == entry("shop", key, ["predict", "feedback"])
    assert key not in made.stdout
    refused = CliRunner().invoke(command, ["new", "Shop!"])
    assert refused.exit_code == 2
    assert "name" in refused.stderr


async def test_answers_tell_browsers_what_they_may_do(open_gateway: Callable) -> None:
    origin = {"Origin": "https://app.example"}
    async with open_gateway() as client:
        assert "access-control-allow-origin" not in (await client.get("/healthz", headers=origin)).headers
        assert (await client.get("/healthz")).headers["x-content-type-options"] == "nosniff"
        for path in ("/", "/docs"):
            policy = (await client.get(path)).headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
        assert (await client.get("/redoc")).status_code == 404
        assert (await client.get("/assets/..%2Findex.html")).status_code == 404
    async with open_gateway(cors_origins=["https://app.example"]) as client:
        asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        preflight = await client.options("/v1/predict", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert (await client.get("/healthz", headers=origin)).headers["access-control-allow-origin"] == origin["Origin"]
        assert (
            "access-control-allow-origin"
            not in (await client.get("/healthz", headers={"Origin": "https://other.example"})).headers
        )


def test_metrics_on_a_port_of_their_own(tmp_path: Path) -> None:
    with closing(GatewayProcess(tmp_path, metrics_port=0, model_server="127.0.0.1:9")) as gateway:
        own = re.search(r"metrics on (http://[\d.]+:\d+/metrics)", gateway.log)
        assert own
        assert "emotion_build_info" in httpx.get(own[1]).text
        assert httpx.get(f"{gateway.url}/metrics").status_code == 404
