"""What several commands have: --url, --key, --local and the like, and a client for long work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from emotion_client.client import URL, AsyncClient

Url = Annotated[str, typer.Option("--url", envvar="EMOTIONCTL_URL", help="The service.")]
Key = Annotated[str | None, typer.Option("--key", envvar="EMOTIONCTL_KEY", help="Your key.", show_envvar=True)]
Local = Annotated[bool, typer.Option("--local", help="Start a service on this machine, and end it with this command.")]
Repository = Annotated[
    Path, typer.Option("--repository", metavar="PATH", help="The models of --local: NAME/VERSION/saved_model.pb.")
]
Lang = Annotated[Literal["en", "vi"], typer.Option("--lang", help="Language of the words.")]
Crop = Annotated[Literal["detect", "none"], typer.Option("--crop", help="none: each photo is a face already, cut out.")]

DEFAULT = URL
REPOSITORY = Path("model_repository")


@asynccontextmanager
async def patient(url: str, key: str | None) -> AsyncIterator[AsyncClient]:
    """A client for long work: a service that restarts is waited for, 90 seconds and however often.

    Raises:
        Unreachable: at once, where nobody is there when it begins.
    """
    async with AsyncClient(url, key=key, retries=1_000, timeout_s=90.0) as client:
        await client.health()
        yield client
