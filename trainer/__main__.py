"""Train emotion models, search architectures, measure, combine and export."""

import sys

import typer

from trainer.commands import data, ensemble, evaluate, export, opinions, search, train
from trainer.errors import TrainerError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data.app, name="data")
app.command()(train.train)
app.command()(opinions.opinions)
app.add_typer(search.app, name="search")
app.command()(ensemble.ensemble)
app.command()(evaluate.evaluate)
app.command()(export.export)


def main() -> None:
    """Run the command line; a TrainerError ends it with one line on standard error and exit status 1."""
    try:
        app()
    except TrainerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
