"""python -m serving promote|rollback|cluster: which version a label stands for, on running servers."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.rollout import cluster_commands
from serving.rollout.errors import RolloutError

# Before TensorFlow is imported, whose start-up notices would bury our lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Move version labels on running model servers.", no_args_is_help=True, pretty_exceptions_enable=False
)
app.add_typer(cluster_commands.app, name="cluster")

Name = Annotated[str, typer.Argument(help="A model of models.config.")]
Servers = Annotated[
    list[str], typer.Option("--server", help="host:port of a model server's gRPC; repeat it for every replica.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="The servers' models.config, as they see its base paths; replaced in the end. [default: what `make serve`"
        " runs, .run/models.config]"
    ),
]
Label = Annotated[str, typer.Option(help="The label to move.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that each of the two steps may take.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the two lists of models; change nothing.")]

console = Console()


@app.command()
def promote(
    name: Name,
    version: Annotated[int, typer.Argument(min=0, help="A version in the servers' repository.")],
    servers: Servers,
    config: Config = None,
    label: Label = "stable",
    timeout: Timeout = 60,
    dry_run: DryRun = False,
) -> None:
    """Let a label point at VERSION of NAME, without a failed request.

    A server refuses a label for a version that it has not loaded, so this takes two reloads: the first makes VERSION
    load; once it is AVAILABLE and answers a blank face, the second moves the label. Each step is done on every
    --server before the next. Where the label was stays loaded as <label>-previous, for `rollback`.

    Last, the file is replaced. If anything fails before, the servers get back the list that is in the file.

    Example, for what `make serve` runs:

        python -m serving promote residual 2 --label stable --server localhost:8500
    """
    from serving.rollout import promote as rollout

    target = rollout.Target(name, label, servers, config or rollout.default_config(), timeout)
    rollout.promote(target, version, console, dry_run=dry_run)


@app.command()
def rollback(
    name: Name,
    servers: Servers,
    config: Config = None,
    label: Label = "stable",
    timeout: Timeout = 60,
    dry_run: DryRun = False,
) -> None:
    """Let a label of NAME point at the version before the last `promote`.

    The same two steps and safeguards as `promote`. Label and <label>-previous change places, so that a second
    rollback returns.

    Example:

        python -m serving rollback residual --label stable --server localhost:8500
    """
    from serving.rollout import promote as rollout

    target = rollout.Target(name, label, servers, config or rollout.default_config(), timeout)
    rollout.rollback(target, console, dry_run=dry_run)


def main() -> None:
    """Run the command line; a RolloutError ends it with one line on standard error and exit status 1."""
    try:
        app(prog_name="python -m serving")
    except RolloutError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
