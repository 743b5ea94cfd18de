"""`promote` and `rollback`: which version a label stands for, on running servers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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

        python -m trainer promote residual 2 --label stable --server localhost:8500
    """
    from trainer import promote as rollout

    target = rollout.Target(name, label, servers, config or rollout.default_config(), timeout)
    rollout.promote(target, version, console, dry_run=dry_run)


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

        python -m trainer rollback residual --label stable --server localhost:8500
    """
    from trainer import promote as rollout

    target = rollout.Target(name, label, servers, config or rollout.default_config(), timeout)
    rollout.rollback(target, console, dry_run=dry_run)
