"""Make a key: it is shown once, and its entry goes into the file that EMOTION_KEYS_FILE names."""

from typing import Annotated

import typer
import yaml
from pydantic import ValidationError

from api.keys.file import entry, new_key

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Make a key: it is shown once, and its entry goes into the file that EMOTION_KEYS_FILE names."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Who gets it; metrics and logs name it.")],
    scope: Annotated[
        list[str], typer.Option(help="predict, feedback, report, test (force variants) or admin (all). Repeat it.")
    ] = ["predict"],  # noqa: B006 - typer copies it
) -> None:
    """Print a new key on standard error and its entry, which can be appended to the file, on standard output.

    python -m api.keys new shop --scope predict >> keys.yaml
    """
    key = new_key()
    try:
        made = entry(name, key, scope)
    except ValidationError as error:
        first = error.errors()[0]
        typer.echo(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{key}\nIt is shown this once. Callers send it as X-API-Key, or as Authorization: Bearer.", err=True)
    document = made.model_dump(mode="json", exclude_none=True)
    typer.echo(yaml.safe_dump([document], sort_keys=False, default_flow_style=None), nl=False)


if __name__ == "__main__":
    app()
