"""Reports are made of outcomes: the same databases."""

from tests.api.outcomes.conftest import database_url, fill, make, metrics, open_store, outcomes, until, value

__all__ = ["database_url", "fill", "make", "metrics", "open_store", "outcomes", "until", "value"]
