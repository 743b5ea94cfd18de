"""--url, --key, --local, --repository and --lang, of every command that has them."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from emotion_client.client import URL

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

PATIENCE: dict[str, Any] = {"retries": 1_000, "timeout_s": 90.0}
"""Of a client whose work is long: a service that restarts is waited for, for so many seconds and however often."""
