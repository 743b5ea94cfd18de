"""Roll a model version through a Kubernetes cluster: apply an overlay, move a label, move it back.

The files are what is true: each command applies them and returns once every pod answers accordingly. It needs kubectl,
and what `make trainer` installs.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from serving.rollout.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]

app = typer.Typer(
    help="Roll a model version through a Kubernetes cluster, one checked step at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="A model of models.config.")]
Overlay = Annotated[Path, typer.Option(help="Directory of the kustomization.", exists=True, file_okay=False)]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. [default: the current one]")]
Repository = Annotated[Path, typer.Option(help="The model repository that the image is built from.")]
Config = Annotated[Path, typer.Option(help="The models.config that the overlay is made of; edited.", exists=True)]
Label = Annotated[str, typer.Option(help="The label to move.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds that each step may take.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, show what would change, and change nothing.")]


@app.command()
def apply(
    overlay: Overlay,
    context: Context = None,
    repository: Repository = ROOT / "model_repository",
    timeout: Timeout = 600,
    dry_run: DryRun = False,
) -> None:
    """Apply an overlay (another image, an experiment), and wait until all pods have it.

    Refused: a label in models.config on a version that is not in the repository, or elsewhere than in the cluster; an
    experiments.yaml that is invalid, or asks for what not every model server answers. Where experiments.yaml was
    edited, EMOTION_ADMIN_KEY is needed to ask the gateways whether they have taken it up.
    """
    from serving.rollout.cluster_steps import apply_overlay

    key = os.environ.get("EMOTION_ADMIN_KEY", "")
    apply_overlay(Cluster(overlay, context), repository, key, timeout, dry_run=dry_run)


@app.command()
def promote(
    name: Name,
    version: Annotated[int, typer.Argument(min=0, help="A version that every model server has.")],
    overlay: Overlay,
    context: Context = None,
    config: Config = ROOT / "serving" / "models.config",
    label: Label = "stable",
    timeout: Timeout = 180,
    dry_run: DryRun = False,
) -> None:
    """Let a label point at VERSION, and wait until every model server answers accordingly.

    Where the label was is kept as <label>-previous, for `rollback`. If a pod does not follow in time, all goes back.
    Commit models.config afterwards, for the next apply takes the labels from there.
    """
    from serving.rollout.cluster_steps import move_label

    move_label(Cluster(overlay, context), config, name, label, version, timeout, dry_run=dry_run)


@app.command()
def rollback(
    name: Name,
    overlay: Overlay,
    context: Context = None,
    config: Config = ROOT / "serving" / "models.config",
    label: Label = "stable",
    timeout: Timeout = 180,
    dry_run: DryRun = False,
) -> None:
    """Let a label point at where it was before the last `promote`; twice returns."""
    from serving.rollout.cluster_steps import move_label

    move_label(Cluster(overlay, context), config, name, label, None, timeout, dry_run=dry_run)
