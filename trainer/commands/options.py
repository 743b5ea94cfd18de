"""Command-line options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from trainer.errors import ConfigError

Sources = Annotated[
    list[Path],
    typer.Option(
        "--data",
        help="Kaggle's fer2013.csv or icml_face_data.csv (plain, .gz, .zip), the same as arrays (.npz: pixels, emotion,"
        " usage), or a folder ROOT/CLASS/*.jpg. Repeat it to mix several.",
    ),
]
Votes = Annotated[
    Path | None,
    typer.Option("--votes", help="FER+'s fer2013new.csv, row for row beside the first CSV of --data."),
]
ClassMap = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FOREIGN=OURS", help="A class folder of another name: --map happiness=happy."),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key: --set epochs=5 --set augment.flip=0."),
]


def parse_map(items: Sequence[str] | None) -> dict[str, str]:
    """`--map` values as a mapping of foreign class names to ours.

    Raises:
        ConfigError: a value is not `foreign=ours`, or one name is mapped to two classes.
    """
    mapping: dict[str, str] = {}
    for item in items or []:
        foreign, _, ours = (part.strip() for part in item.partition("="))
        if not foreign or not ours:
            raise ConfigError(f"--map {item}: expected FOREIGN=OURS, such as --map happiness=happy")
        if mapping.setdefault(foreign, ours) != ours:
            raise ConfigError(f"--map {item}: {foreign!r} is mapped to {mapping[foreign]!r} already")
    return mapping
