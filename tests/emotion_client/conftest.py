"""A real service, and a client that asks it."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from api.http.schemas import PredictResponse
from tests.api.conftest import OpenGateway, client, model_server, open_gateway, repository  # noqa: F401

Ask = Callable[..., Awaitable[PredictResponse]]


@pytest.fixture
def predict(client: Any) -> Ask:  # noqa: F811
    """What the service says of a photo; the parameters are those of the query."""

    async def run(content: bytes, **query: Any) -> PredictResponse:
        answer = await client.post("/v1/predict", params=query, content=content, headers={"Content-Type": "image/jpeg"})
        if answer.is_error:
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
        return PredictResponse.model_validate(answer.json())

    return run
