import traceback

import pytest

from api.addresses import parse_url


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("mysql://u:hunter2@host/db", "mysql is none of sqlite, postgresql"),
        ("postgresql+asyncpg://u:hunter2@host/db", "none of"),
        ("outcomes.db", "not a URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file:outcomes.db?uri=true", "the path of a file"),
        ("postgresql://me:secret@hunter2@host/db", "percent-encode @ : / in user and password"),
        ("postgresql://me:secret@p:hunter2@host/db", "percent-encode @ : / in user and password"),
        ("postgresql://me/you:hunter2@host/db", "percent-encode @ : / in user and password"),
    ],
)
def test_a_database_that_we_cannot_use_is_refused(wrong: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_url(wrong)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_any_password_can_be_given() -> None:
    url = parse_url("postgresql://me%40work:%40%3A%2F%3F@[::1]:5433/db?sslmode=require")
    assert (url.username, url.password, url.host, url.port, url.database) == ("me@work", "@:/?", "::1", 5433, "db")
