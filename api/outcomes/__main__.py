"""python -m api.outcomes: forget a subject, in the database of EMOTION_DATABASE_URL."""

import asyncio
import sys
from typing import Annotated, NoReturn

import typer

from api.addresses import parse_url
from api.errors import OutcomesUnavailable
from api.observe.metrics import Metrics
from api.outcomes.database import SchemaError
from api.outcomes.lifespan import open_outcomes
from api.outcomes.migrate import require_newest
from api.outcomes.store import DATABASE_ERRORS
from api.outcomes.subjects import erase as erase_subject
from api.settings import Settings, WrongSettingsError, read_settings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Outcomes of predictions, in the database of EMOTION_DATABASE_URL."""


@app.command()
def erase(subject: Annotated[str, typer.Option(help="As X-Subject-ID names it.")]) -> None:
    """Delete all predictions of a subject, with their faces and feedback.

    It takes the EMOTION_SUBJECT_SECRET of the gateways, whose key its hash was made with.

        python -m api.outcomes erase --subject user-1234
    """
    try:
        settings = read_settings()
    except WrongSettingsError as error:
        _fail(str(error), status=2)
    if settings.subject_secret is None:
        _fail("EMOTION_SUBJECT_SECRET is not set: without the gateways' own no subject can be found", status=2)
    try:
        require_newest(parse_url(settings.database_url.get_secret_value()))
        deleted = asyncio.run(_erase(settings, subject))
    except SchemaError as error:
        _fail(str(error), status=2)
    except OutcomesUnavailable as error:
        _fail(error.detail)
    except DATABASE_ERRORS as error:
        _fail((str(error).splitlines() or [type(error).__name__])[0])
    print(f"predictions deleted: {deleted}")


async def _erase(settings: Settings, subject: str) -> int:
    async with open_outcomes(settings, Metrics()) as outcomes:
        return await erase_subject(outcomes, subject)


def _fail(message: str, status: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(status)


if __name__ == "__main__":
    app()
