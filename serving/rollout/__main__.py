"""python -m serving promote|rollback|apply|check: the label of a model, on running servers or in a cluster."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from serving import models_config
from serving.errors import ServingError
from serving.rollout import cluster
from serving.rollout.client import connect
from serving.rollout.kubectl import Cluster
from serving.rollout.labels import labels_of, planned_move, require_labels
from serving.rollout.servers import move_on_servers

ROOT = Path(__file__).resolve().parents[2]
RUNNING = Path(".run/models.config")  # what `make serve` runs, from the directory that it was called in

app = typer.Typer(
    help="Move version labels on running model servers (--server) or in a Kubernetes cluster (--overlay).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="A model of models.config.")]
Servers = Annotated[
    list[str] | None, typer.Option("--server", help="host:port of a model server's gRPC; repeat it for every replica.")
]
Overlay = Annotated[str | None, typer.Option(help="A directory of k8s/overlays, or another kustomization's.")]
Context = Annotated[str | None, typer.Option(help="With --overlay: of the kubeconfig. (default: the current one)")]
Config = Annotated[
    Path | None,
    typer.Option(
        help="The servers' models.config, as they see its base paths; replaced in the end. (default: what `make serve`"
        " runs, .run/models.config; with --overlay what it is made of, serving/models.config)"
    ),
]
Label = Annotated[str, typer.Option(help="The label to move.")]
Timeout = Annotated[
    float | None, typer.Option(min=0.1, help="Seconds that each step may take. (default: 60; with --overlay 180)")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, show what would change, and change nothing.")]
Repository = Annotated[Path, typer.Option(help="The model repository that the image is built from.")]


@app.command("promote")
def promote_command(
    name: Name,
    version: Annotated[int, typer.Argument(min=0, help="A version that the servers have.")],
    servers: Servers = None,
    overlay: Overlay = None,
    context: Context = None,
    config: Config = None,
    label: Label = "stable",
    timeout: Timeout = None,
    dry_run: DryRun = False,
) -> None:
    """Let a label point at VERSION of NAME, without a failed request.

    A server refuses a label for a version that it has not loaded, so this takes two reloads: the first makes VERSION
    load; once it is AVAILABLE and answers a blank face, the second moves the label. Each step is done on every
    --server before the next. Where the label was stays loaded as <label>-previous, for `rollback`. Last, the file is
    replaced. If anything fails before, the servers get back the list that is in the file.

    In a cluster, whose images bring the versions, the file is edited and applied, and every pod is asked. If one does
    not follow in time, all goes back. Commit models.config afterwards, because the next apply takes the labels from it.

    Example, for what `make serve` runs:

        python -m serving promote residual 2 --label stable --server localhost:8500
    """
    _move(name, version, servers, overlay, context, config, label, timeout, dry_run)


@app.command()
def rollback(
    name: Name,
    servers: Servers = None,
    overlay: Overlay = None,
    context: Context = None,
    config: Config = None,
    label: Label = "stable",
    timeout: Timeout = None,
    dry_run: DryRun = False,
) -> None:
    """Let a label of NAME point at the version before the last `promote`.

    The same steps and safeguards as `promote`. Label and <label>-previous change places, so that a second rollback
    returns.

    Example:

        python -m serving rollback residual --label stable --server localhost:8500
    """
    _move(name, None, servers, overlay, context, config, label, timeout, dry_run)


@app.command()
def apply(
    overlay: Annotated[str, typer.Option(help="A directory of k8s/overlays, or another kustomization's.")],
    context: Context = None,
    repository: Repository = ROOT / "model_repository",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that each step may take.")] = 600,
    dry_run: DryRun = False,
) -> None:
    """Apply an overlay (another image, an experiment), and wait until all pods have it.

    Refused: a label in models.config on a version that is not in the repository, or elsewhere than in the cluster; an
    experiments.yaml that is invalid, or asks for what not every model server answers. Where experiments.yaml was
    edited, EMOTION_ADMIN_KEY is needed to ask the gateways whether they have taken it up.
    """
    cluster.apply(
        _cluster(overlay, context), repository, os.environ.get("EMOTION_ADMIN_KEY", ""), timeout, dry_run=dry_run
    )


@app.command()
def check(
    servers: Servers = None,
    overlay: Overlay = None,
    context: Context = None,
    config: Config = None,
    repository: Repository = ROOT / "model_repository",
) -> None:
    """Does every server answer each label with the version that models.config says? Changes nothing.

    In a cluster also: are its labels those of the overlay, and their versions in the repository; is experiments.yaml
    valid, does every model server answer what it asks for, and, with EMOTION_ADMIN_KEY, does every gateway run it?
    """
    if overlay and not servers:
        cluster.check(_cluster(overlay, context), repository, os.environ.get("EMOTION_ADMIN_KEY", ""))
        return
    addresses = _given(servers, overlay)
    labels = labels_of(models_config.read(config or _running()).proto)
    for address in addresses:
        with connect(address) as server:
            require_labels(server, labels)
            print(f"{address} answers the labels of models.config")


def _move(
    name: str,
    version: int | None,
    servers: list[str] | None,
    overlay: str | None,
    context: str | None,
    config: Path | None,
    label: str,
    timeout: float | None,
    dry_run: bool,
) -> None:
    addresses = [] if overlay and not servers else _given(servers, overlay)
    path = config or (_running() if addresses else ROOT / "serving" / "models.config")
    timeout = timeout or (60 if addresses else 180)
    with planned_move(path, name, label, version, timeout, dry_run=dry_run) as move:
        if addresses:
            move_on_servers(move, addresses)
        else:
            cluster.move_in_cluster(move, _cluster(overlay or "", context))


def _given(servers: list[str] | None, overlay: str | None) -> list[str]:
    if overlay or not servers:
        raise typer.BadParameter("give either --server or --overlay")
    return servers


def _running() -> Path:
    if not RUNNING.exists():
        raise ServingError(f"{RUNNING} does not exist here: name the servers' models.config with --config")
    return RUNNING


def _cluster(overlay: str, context: str | None) -> Cluster:
    shipped = ROOT / "k8s" / "overlays" / overlay
    return Cluster(shipped if shipped.is_dir() else Path(overlay), context)


def main() -> None:
    """Run the command line; a ServingError ends it with one line on standard error and exit status 1."""
    try:
        app(prog_name="python -m serving")
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
