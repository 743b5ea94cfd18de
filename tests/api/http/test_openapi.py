import httpx
import pytest

PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict:
    return (await client.get("/openapi.json")).json()


async def test_docs_page(client: httpx.AsyncClient) -> None:
    assert "swagger" in (await client.get("/docs")).text.lower()


def test_every_body_is_documented(document: dict) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert {
        "multipart/form-data",
        "application/json",
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/bmp",
    } <= set(content)
    batch = document["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    assert set(batch) == {"multipart/form-data"}


async def test_the_json_example_runs_and_finds_a_face(client: httpx.AsyncClient, document: dict) -> None:
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    response = await client.post("/predict", json=example)
    assert response.status_code == 200, response.text
    assert len(response.json()["faces"]) == 1


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/predict", "post", {"400", "404", "408", "413", "415", "422", "500", "502", "503", "504"}),
        ("/predict/batch", "post", {"404", "408", "413", "415", "422", "500", "502", "503", "504"}),
        ("/models", "get", {"502", "503", "504"}),
        ("/readyz", "get", {"503"}),
        ("/experiments", "get", {"401", "403"}),
        ("/experiments/{name}/assignment", "get", {"401", "403", "404", "422"}),
        ("/experiments/{name}/report", "get", {"401", "403", "404", "422", "503"}),
        ("/feedback", "post", {"401", "403", "404", "410", "413", "422", "503"}),
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
    parameters = {item["name"]: item for item in document["paths"]["/predict"]["post"]["parameters"]}
    assert set(parameters) == {"model", "version", "label", "max_faces", "min_face", "crop", "X-Variant"}
    assert all(item["description"] for item in parameters.values())
