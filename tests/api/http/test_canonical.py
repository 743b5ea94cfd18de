"""HEAD, redirects, and queries that are odd."""

import socket
from collections.abc import Callable

import httpx
import pytest

from tests.api.model_server_process import ModelServer

ADMIN = {"X-Admin-Key": "a" * 16}
PATHS = ["/", "/healthz", "/readyz", "/metrics", "/v1/models", "/models", "/v1/experiments", "/docs", "/openapi.json"]


async def test_head_is_get_without_a_body(open_gateway: Callable, model_server: ModelServer) -> None:
    async with open_gateway(model_server=model_server.address, admin_key="a" * 16) as client:
        for path in PATHS:
            head, get = [await client.request(method, path, headers=ADMIN) for method in ("HEAD", "GET")]
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == get.headers["content-type"]
            assert int(head.headers["content-length"]) > 0
        missing = await client.head("/v1/experiments/none/assignment?subject=a", headers=ADMIN)
        assert (missing.status_code, missing.content) == (404, b"")
        not_allowed = await client.head("/v1/predict")
        assert (not_allowed.status_code, not_allowed.headers["allow"]) == (405, "POST")
        assert 'emotion_http_requests_total{route="/healthz",status="200"} 2.0' in (await client.get("/metrics")).text


def send(port: int, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head)
        return connection.recv(65536)


def test_head_over_a_connection_that_is_kept(run_gateway: Callable, model_server: ModelServer) -> None:
    gateway = run_gateway(model_server=model_server.address)
    with httpx.Client(base_url=gateway.url) as client:
        for _ in range(2):
            assert client.head("/healthz").status_code == 200
            assert client.get("/healthz").json() == {"status": "ok"}
            assert client.head("/").status_code == 200
    answer = send(gateway.port, b"GET /v1/models/ HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Proto: https\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 307")
    assert b"evil.example" not in answer
    assert b"\r\nlocation: /v1/models\r\n" in answer.lower()


@pytest.mark.parametrize(
    ("path", "location"), [("/v1/models/", "/v1/models"), ("/predict/?max_faces=1", "/predict?max_faces=1")]
)
async def test_redirects_are_relative(client: httpx.AsyncClient, path: str, location: str) -> None:
    for method in ("GET", "POST", "HEAD"):
        response = await client.request(method, path, headers={"Host": "evil.example"})
        if response.status_code != 405:
            assert response.status_code == 307
            assert response.headers["location"] == location


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example/models/", "/\\evil.example/", "///models/"])
async def test_no_path_leads_to_another_host(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(httpx.URL("http://gateway").copy_with(raw_path=path.encode()))
    location = response.headers.get("location", "/")
    assert location.startswith("/")
    assert not location.startswith("//")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/predict?model=residual&model=residual", "model"),
        ("/predict?max_faces=1&min_face=3&max_faces=2", "max_faces"),
        ("/predict/batch?version=1&version=2", "version"),
        ("/predict?%6dodel=residual&model=residual", "model"),
        ("/predict?crop=&crop=none", "crop"),
        ("/predict?model=resid%FFual", "query"),
        ("/predict?" + "&".join(f"k{number}" for number in range(5000)), "query"),
    ],
)
async def test_what_a_query_says_must_be_clear(client: httpx.AsyncClient, path: str, field: str) -> None:
    response = await client.post(path, content=b"x", headers={"content-type": "image/png"})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert len(response.content) < 1000


@pytest.mark.parametrize(
    "path",
    ["/models?a=1&a=2", "/experiments?a=1&a=2", "/experiments/x/assignment?subject=a&subject=b", "/feedback?a=1&a=2"],
)
async def test_parameters_twice_are_refused_everywhere(
    open_gateway: Callable, model_server: ModelServer, path: str
) -> None:
    async with open_gateway(model_server=model_server.address, admin_key="a" * 16) as client:
        feedback = {"prediction_id": "x", "correct": True}
        request = {"method": "POST", "json": feedback} if "feedback" in path else {"method": "GET"}
        response = await client.request(url=path, headers=ADMIN, **request)
        assert response.status_code == 422
        assert "more than once" in response.json()["detail"]


async def test_at_most_ten_unknown_parameters_are_named(client: httpx.AsyncClient) -> None:
    query = "&".join(f"unknown{number}=1" for number in range(90))
    response = await client.post(f"/predict?{query}", content=b"x", headers={"content-type": "image/png"})
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 10
    assert "80 more" in response.json()["detail"]
