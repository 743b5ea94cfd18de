"""`emotion models`, `emotion health`, `emotion report`: what a service says of itself."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from emotion_client.cli.connection import DEFAULT, Key, Url
from emotion_client.client import Client


def models(url: Url = DEFAULT, key: Key = None) -> None:
    """List models and versions: their state, and the labels on them."""
    with Client(url, key=key) as client:
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
    table = Table("variant", "assigned", "right", "accuracy")
    for variant in found.get("variants", []):
        accuracy = variant.get("accuracy")
        shown = "" if not isinstance(accuracy, dict) or accuracy.get("value") is None else f"{accuracy['value']:.3f}"
        counts = (variant.get("assigned", ""), variant.get("correct", ""))
        table.add_row(str(variant.get("name", variant.get("variant", ""))), *map(str, counts), shown)
    console = Console()
    console.print(table)
    advice = found.get("advice")
    text = advice.get("text", advice.get("reason", "")) if isinstance(advice, dict) else advice
    console.print(str(text or ""), markup=False, soft_wrap=True)
