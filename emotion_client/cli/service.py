"""`emotion models`, `emotion health`, `emotion report`: what a service says of itself."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from emotion_client.cli.connection import DEFAULT, REPOSITORY, Key, Local, Repository, Url
from emotion_client.cli.local import service
from emotion_client.client import Client


def models(url: Url = DEFAULT, key: Key = None, local: Local = False, repository: Repository = REPOSITORY) -> None:
    """List models and versions: their state, and the labels on them."""
    with service(url, local, repository) as at, Client(at, key=key) as client:
        found = client.models()
    table = Table("model", "version", "state", "labels", "unclear below")
    for model in found:
        for version in model.versions:
            below = "" if version.unclear_below is None else f"{version.unclear_below:.3f}"
            name = f"{model.name} (default)" if model.default else model.name
            table.add_row(name, str(version.version), version.state, ", ".join(version.labels), below)
    Console().print(table)


def health(url: Url = DEFAULT, key: Key = None) -> None:
    """Say whether the service would answer a photo now; exit code 1 if not."""
    with Client(url, key=key) as client:
        found = client.health()
    if found.ready:
        print(f"{url} is ready, and finds faces by {found.detector}")
        return
    print(f"{url} is not ready: {found.reason}")
    raise typer.Exit(1)


def report(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it.")] = False,
    url: Url = DEFAULT,
    key: Key = None,
) -> None:
    """Say which variant of an experiment is better. Needs a key of scope report."""
    with Client(url, key=key) as client:
        found = client.report(name)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console()
    table = Table("variant", "share", "requests", "lost", "feedback", "accuracy", "95 % interval", "p95, ms")
    for one in found["variants"]:
        accuracy, latency = one["accuracy"], one["latency_ms"]
        table.add_row(
            f"{one['name']} (control)" if one["control"] else one["name"],
            f"{one['share']:.1%}",
            *(str(one[count]) for count in ("requests", "lost", "feedback")),
            f"{accuracy['value']:.3f}" if accuracy else "",
            f"{accuracy['low']:.3f} to {accuracy['high']:.3f}" if accuracy else "",
            f"{latency['p95']:.0f}" if latency else "",
        )
    console.print(table)
    for one in found["comparisons"]:
        interval = one["always_valid_interval"]
        sure = f", {interval['low']:+.3f} to {interval['high']:+.3f} at every look" if interval else ""
        console.print(f"{one['variant']}: {one['difference']:+.3f} against the control{sure}", markup=False)
    console.print(f"{found['verdict']}: {found['advice']}", markup=False, soft_wrap=True)
