"""The best architectures of a search, trained in full."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.networks.spec import to_json
from trainer.run_directory import CONFIG, METRICS, RunFacts, load_facts
from trainer.search.report import ranked
from trainer.search.study import Outcome
from trainer.training.config import TrainConfig, load_config
from trainer.training.fit import fit


def best(name: str, trials: Sequence[Outcome], top: int) -> list[Outcome]:
    """The `top` trials to retrain, best first: complete ones, then pruned ones if those are too few.

    Raises:
        TrainerError: fewer trials than that have a score.
    """
    order = ranked(trials)
    if len(order) < top:
        raise TrainerError(f"study {name!r}: {len(order)} trials have a score, and --top asks for {top}")
    return order[:top]


def retrain(
    study: str,
    trial: Outcome,
    config: TrainConfig,
    dataset: Dataset,
    facts: dict[str, Any],
    directory: Path,
    console: Console,
) -> RunFacts:
    """Train a trial's architecture as `config` says, resuming what was begun; a finished run is left as it is.

    Args:
        facts: `dataset.facts` under `data`, and `trainer.provenance.provenance()`.
        directory: the run directory, as `train` writes it. metrics.json names study and trial under `search`.

    Raises:
        ConfigError, TrainingError: as `trainer.training.fit.fit`; such as for a directory that holds another run.
    """
    settings = config.model_copy(update={"model": "random", "model_args": {"spec": to_json(trial.spec)}})
    if _is_finished(directory, settings, facts):
        console.print(f"{directory}: finished already", soft_wrap=True, highlight=False)
    else:
        training, validation = dataset.require("Training", "PublicTest")
        found = {"study": study, "trial": trial.number, "accuracy": trial.accuracy}
        fit(settings, training, validation, directory, {**facts, "init": None, "search": found}, console, resume=True)
    return load_facts(directory)


def _is_finished(directory: Path, settings: TrainConfig, facts: dict[str, Any]) -> bool:
    # `fit` would see it too, but only on the backend that wrote the checkpoint.
    if not (directory / METRICS).exists() or load_config(directory / CONFIG, []) != settings:
        return False
    return bool(load_facts(directory)["data"]["sha256"] == facts["data"]["sha256"])
