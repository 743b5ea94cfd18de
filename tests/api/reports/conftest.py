"""Databases of both kinds, as the tests of the outcomes have them, and a gateway on one."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml

from api.app import create_app
from api.settings import Settings
from tests.api.in_process import in_process
from tests.api.outcomes.conftest import database_url, fill, make, metrics, open_store, outcomes, race, until, value

__all__ = ["database_url", "fill", "make", "metrics", "open_store", "outcomes", "race", "until", "value"]

KEY = "a key of the tests"


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway with the experiment `race` configured, and the outcomes of it as `client.outcomes`."""
    variants = [{"name": name, "model": "residual", "version": 1, "weight": 50} for name in ("a", "b")]
    file = tmp_path / "experiments.yaml"
    file.write_text(
        yaml.safe_dump({"experiments": [{"name": "race", "start": "2020-01-01T00:00:00Z", "variants": variants}]})
    )
    settings = Settings(database_url=database_url, admin_key=KEY, experiments=file, subject_secret="s" * 16)
    app = create_app(settings)
    async with in_process(app, headers={"X-Admin-Key": KEY}) as (opened, state):
        opened.outcomes = state["outcomes"]
        [experiment] = state["experiments"].current.experiments
        opened.split = experiment.split_id
        yield opened
