"""--url and --key, of every command."""

from typing import Annotated

import typer

from emotion_client.client import URL

Url = Annotated[str, typer.Option("--url", envvar="EMOTIONCTL_URL", help="The service.")]
Key = Annotated[str | None, typer.Option("--key", envvar="EMOTIONCTL_KEY", help="Your key.", show_envvar=True)]

DEFAULT = URL
