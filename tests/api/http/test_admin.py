from collections.abc import Callable

import pytest

KEY = "a long enough key"


@pytest.mark.parametrize("given", [None, KEY])
async def test_without_a_key_operators_endpoints_are_closed(open_gateway: Callable, given: str | None) -> None:
    async with open_gateway() as client:
        response = await client.get("/experiments", headers={"X-Admin-Key": given} if given else {})
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"].endswith(":admin-disabled")
    assert "EMOTION_ADMIN_KEY" in response.json()["detail"]


@pytest.mark.parametrize("given", [None, "", KEY[:-1], KEY + "x", "é" * 17])
async def test_without_the_right_key_there_is_a_challenge(open_gateway: Callable, given: str | None) -> None:
    async with open_gateway(admin_key=KEY) as client:
        headers = {"X-Admin-Key": given.encode()} if given is not None else {}
        response = await client.get("/experiments", headers=headers)
        assert response.status_code == 401
        assert response.json()["type"].endswith(":unauthorized")
        assert "X-API-Key" in response.headers["www-authenticate"]
        assert KEY not in response.text
        assert (await client.get("/experiments", headers={"X-Admin-Key": KEY})).status_code == 200


async def test_a_key_may_have_any_letters(open_gateway: Callable) -> None:
    key = "Schl\u00fcssel-\u5199\u771f-123"
    async with open_gateway(admin_key=key) as client:
        assert (await client.get("/experiments", headers={"X-Admin-Key": key.encode()})).status_code == 200
