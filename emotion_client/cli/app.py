"""What the command is made of."""

import io
import logging
import os
import sys
from typing import NoReturn

import typer
from rich.console import Console

from emotion_client.cli.compare import compare
from emotion_client.cli.predict import predict
from emotion_client.cli.service import health, models, report
from emotion_client.cli.video import video
from emotion_client.errors import EmotionError

app = typer.Typer(
    help="Read the emotions of faces in photos and videos, by a running service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(predict)
app.command()(video)
app.command()(compare)
app.command()(models)
app.command()(health)
app.command()(report)


def main() -> None:
    """Run it; what goes wrong ends it with one line and exit code 1, Ctrl-C with 130."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that are not UTF-8 go out as they came in.
        sys.stdout.reconfigure(errors="surrogateescape")
    # What is tried again is no news; without a handler, Python writes it to standard error.
    logging.getLogger("stamina").addHandler(logging.NullHandler())
    try:
        app()
    except EmotionError as error:
        _fail(str(error))
    except BrokenPipeError:
        # Who reads the output has had enough; Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        # A file that the user named, and that cannot be written.
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}")


def _fail(text: str) -> NoReturn:
    Console(stderr=True, highlight=False).print(text, style="red", markup=False, soft_wrap=True)
    sys.exit(1)
