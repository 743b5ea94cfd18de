from collections.abc import Callable

import httpx
import pytest

PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict:
    return (await client.get("/openapi.json")).json()


async def test_docs_page(client: httpx.AsyncClient) -> None:
    assert "swagger" in (await client.get("/docs")).text.lower()


def test_every_body_is_documented(document: dict) -> None:
    content = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {
        "multipart/form-data",
        "application/json",
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/bmp",
    } <= set(content)
    batch = document["paths"]["/v1/predict/batch"]["post"]["requestBody"]["content"]
    assert set(batch) == {"multipart/form-data"}


async def test_the_json_example_runs_and_finds_a_face(client: httpx.AsyncClient, document: dict) -> None:
    example = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    response = await client.post("/predict", json=example)
    assert response.status_code == 200, response.text
    assert len(response.json()["faces"]) == 1


# What a key can bring about.
KEYS = ("401", "403", "429")


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/v1/predict", "post", {*KEYS, "400", "404", "406", "408", "413", "415", "422", "500", "502", "503", "504"}),
        ("/v1/predict/batch", "post", {*KEYS, "400", "404", "408", "413", "415", "422", "500", "502", "503", "504"}),
        (
            "/v1/explain",
            "post",
            {*KEYS, "400", "404", "406", "408", "413", "415", "422", "500", "501", "502", "503", "504"},
        ),
        ("/classifyImage", "post", {*KEYS, "400", "404", "408", "413", "415", "422", "500", "502", "503", "504"}),
        ("/v1/models", "get", {*KEYS, "422", "500", "502", "503", "504"}),
        ("/readyz", "get", {"500", "503"}),
        ("/v1/experiments", "get", {*KEYS, "422", "500", "503"}),
        ("/v1/experiments/{name}/assignment", "get", {*KEYS, "404", "422", "500", "503"}),
        ("/v1/experiments/{name}/report", "get", {*KEYS, "404", "422", "500", "503"}),
        ("/v1/feedback", "post", {*KEYS, "404", "408", "410", "413", "415", "422", "500", "503"}),
    ],
)
def test_every_problem_is_documented(document: dict, path: str, method: str, statuses: set[str]) -> None:
    responses = document["paths"][path][method]["responses"]
    assert set(responses) == {"200"} | statuses
    for status in statuses:
        assert responses[status]["content"] == {"application/problem+json": PROBLEM}
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_parameters_are_documented(document: dict) -> None:
    parameters = {item["name"]: item for item in document["paths"]["/v1/predict"]["post"]["parameters"]}
    names = {
        "model",
        "version",
        "label",
        "max_faces",
        "min_face",
        "crop",
        "detector",
        "align",
        "rotate",
        "lang",
        "X-Variant",
    }
    assert set(parameters) == names
    assert all(item["description"] for item in parameters.values())


def test_names_for_generated_clients(document: dict) -> None:
    named = {operation["operationId"] for path, methods in document["paths"].items() for operation in methods.values()}
    assert {"predict", "predict_batch", "list_models", "list_experiments", "get_report", "give_feedback"} <= named
    assert all(name.isidentifier() for name in named)


def test_what_it_says_of_the_service(document: dict) -> None:
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["info"]["contact"]["name"]
    assert document["servers"]


def test_only_the_paths_of_the_api_have_a_version(document: dict) -> None:
    without = {path for path in document["paths"] if not path.startswith("/v1/")}
    assert without == {"/classifyImage", "/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_the_path_without_version_is_the_same(client: httpx.AsyncClient, one_face: bytes, path: str) -> None:
    body = {"file" if path == "/predict" else "files": one_face}
    old, new = [await client.post(f"{prefix}{path}?crop=none", files=body) for prefix in ("", "/v1")]
    assert (old.status_code, new.status_code) == (200, 200)
    assert old.json()["model"] == new.json()["model"]
    metrics = (await client.get("/metrics")).text
    # They are one route to whoever counts.
    assert f'emotion_http_requests_total{{route="{path}",status="200"}} 2.0' in metrics
    assert '"/v1' not in metrics


async def test_a_large_batch_is_taken_under_both_paths(open_gateway: Callable, one_face: bytes) -> None:
    files = [("files", one_face)] * 3
    async with open_gateway(max_image_bytes=1024, max_batch_bytes=1_000_000) as client:
        for prefix in ("", "/v1"):
            # Too large for a single image, and for each of them, but not for a batch.
            response = await client.post(f"{prefix}/predict", files=files)
            assert response.status_code == 413
            response = await client.post(f"{prefix}/predict/batch", files=files)
            assert response.status_code != 413
