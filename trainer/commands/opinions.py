"""`python -m trainer opinions`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from faces.contract import CLASSES
from trainer.commands.options import ClassMap, Sources, parse_map
from trainer.data.dataset import read_all
from trainer.errors import ConfigError


def opinions(
    onnx: Annotated[Path, typer.Option(help="An ONNX classifier of faces with our classes, in our order; logits.")],
    data: Sources,
    out: Annotated[Path, typer.Option(help="Where to write them, an .npz file.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the pictures that it takes, pixels.")] = 224,
    scale: Annotated[float, typer.Option(min=1e-6, help="Grey levels are divided by this.")] = 255.0,
    views: Annotated[int, typer.Option(min=1, max=2, help="1: faces as they are; 2: mirrored too.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="Of the processor; 0: all.")] = 0,
    class_map: ClassMap = None,
) -> None:
    """Ask somebody else's network what it makes of each face, for `train --teacher` to learn from.

    Needs onnxruntime: pip install 'emotion-serving[teacher]'. Kill it when you like; the same command goes on.

        python -m trainer opinions --onnx expression.onnx --data fer2013.csv.gz --out opinions.npz
    """
    # Keras takes seconds to import.
    from trainer.ensemble.opinions import ask

    if out.suffix != ".npz":
        raise ConfigError(f"--out {out}: the name must end in .npz")
    splits = read_all(data, class_map=parse_map(class_map)).splits
    images = np.concatenate([split.images for split in splits.values()])
    console = Console()
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(images))
        found = ask(
            onnx,
            images,
            out,
            size=size,
            scale=scale,
            views=views,
            threads=threads,
            begun=lambda count: bar.update(task, completed=count),
            progress=lambda count: bar.advance(task, count),
        )
    labels = np.concatenate([split.labels for split in splits.values()])
    right = found.logits.astype(np.float32).mean(axis=1).argmax(axis=1) == labels
    start = 0
    for name, split in splits.items():
        console.print(f"{name}: {len(split):,} faces, {right[start : start + len(split)].mean():.4f} of them right")
        start += len(split)
    console.print(f"wrote {out}: {len(images):,} faces, {views} view(s), {len(CLASSES)} classes", soft_wrap=True)
