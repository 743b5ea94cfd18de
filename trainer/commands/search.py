"""`python -m trainer search`: create a study, run it, report it, export what it found."""

import os
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from trainer.commands.options import ClassMap, Overrides, Sources, Votes, parse_map
from trainer.commands.tables import table
from trainer.data.dataset import load
from trainer.errors import ConfigError
from trainer.networks.spec import ArchitectureSpec, from_json
from trainer.networks.spec_cost import Budget
from trainer.provenance import provenance
from trainer.search.plan import Plan
from trainer.search.space import sample
from trainer.search.trial import save_arrays
from trainer.training.config import load_config, published
from trainer.yaml_file import read_yaml

if TYPE_CHECKING:
    from trainer.search.worker import Listen, Worker

app = typer.Typer(
    help="Search architectures: create a study, run it with any number of workers, report it, export the best.",
    no_args_is_help=True,
)


Name = Annotated[str, typer.Argument(help="The study; names its files too.")]
Storage = Annotated[
    str | None,
    typer.Option(help="Journal file, or postgresql://USER@HOST/DATABASE. [default: runs/searches/NAME.journal]"),
]


@app.command()
def create(
    name: Name,
    space: Annotated[
        Literal["tutorial", "efficient"], typer.Option(help="Where architectures are sampled from.")
    ] = "efficient",
    sampler: Annotated[
        Literal["random", "tpe"], typer.Option(help="`tpe` learns from the trials so far.")
    ] = Plan.sampler,
    trials: Annotated[int, typer.Option(min=1, help="Architectures to train.")] = Plan.trials,
    min_mmacs: Annotated[float, typer.Option(min=0, help="Fewest multiply-accumulates of a face, in millions.")] = (
        Budget.min_macs / 1e6
    ),
    max_mmacs: Annotated[float, typer.Option(min=0, help="Most of them.")] = Budget.max_macs / 1e6,
    max_parameters: Annotated[int, typer.Option(min=1, help="Most weights.")] = Budget.max_parameters,
    objective: Annotated[
        Literal["PublicTest", "cross-validation"], typer.Option(help="What a trial's accuracy is measured on.")
    ] = Plan.objective,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation, on Training.")] = Plan.folds,
    share: Annotated[
        float, typer.Option(help="Share of the training images that a trial uses, for cheaper trials.")
    ] = Plan.share,
    min_epochs: Annotated[
        int, typer.Option(min=1, help="Epochs that Hyperband lets every trial have.")
    ] = Plan.min_epochs,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler and of the choice of images.")] = Plan.seed,
    config: Annotated[
        Path | None, typer.Option(help="YAML of a trial's training. [default: the published search.yaml]")
    ] = None,
    overrides: Overrides = None,
    enqueue: Annotated[Path | None, typer.Option(help="YAML: a list of specs to train before any is sampled.")] = None,
    storage: Storage = None,
    exist_ok: Annotated[
        bool, typer.Option("--exist-ok", help="Succeed if it exists with this very plan, as a restarted job wants.")
    ] = False,
) -> None:
    """Make a study: what to search, how to train a trial and how to score it. Nothing is trained yet.

    A sample that cannot be built or costs too much is drawn again; no architecture is trained twice.

        python -m trainer search create first --space efficient --trials 40 --share 0.35 --max-mmacs 60
    """
    # Optuna takes a second to import.
    from trainer.search.study import create_study

    plan = Plan(
        space=space,
        train=load_config(config or published("search"), list(overrides or [])),
        budget=Budget(round(min_mmacs * 1e6), round(max_mmacs * 1e6), max_parameters),
        trials=trials,
        sampler=sampler,
        objective=objective,
        share=share,
        min_epochs=min_epochs,
        folds=folds,
        seed=seed,
    )
    # Refuses a budget that nothing fits.
    sample(plan.space, seed, plan.budget, smallest_side=plan.train.smallest_side)
    specs = _read_specs(enqueue) if enqueue else []
    create_study(name, storage or _default(name), plan, enqueue=specs, exist_ok=exist_ok)
    Console().print(f"next: python -m trainer search run {name} --data ...", soft_wrap=True, highlight=False)


@app.command()
def run(
    name: Name,
    data: Sources,
    votes: Votes = None,
    class_map: ClassMap = None,
    storage: Storage = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at the same time.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each training. [default: cores / workers]")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds after which an epoch counts as hung.")] = 1800,
) -> None:
    """Train a study's trials, each in a process of its own, until it has them all.

    May be started again, and several times at once, on other machines too where the storage is a database. Ctrl-C ends
    it and queues what was in training; what a killed worker left is queued by the next one that asks. A crash of an
    architecture fails that trial alone.

        python -m trainer search run first --data fer2013.csv.gz --workers 2
    """
    # Optuna takes a second to import.
    from trainer.search.crew import run_workers
    from trainer.search.study import bind, open_study
    from trainer.search.worker import Worker

    console = Console()
    location = storage or _default(name)
    study, plan = open_study(name, location)
    dataset = load(data, class_map=parse_map(class_map), votes=votes)
    bind(study, dataset.facts)
    # By digest: workers of one study may share the folder, and other data cannot take the place of what they read.
    arrays = _home(location) / f"{name}.arrays" / dataset.facts["sha256"][:16]
    # A cross-validation has no use for a validation split; its children get Training in that place.
    training, validation = dataset.require("Training", "PublicTest" if plan.objective == "PublicTest" else "Training")
    save_arrays(training, validation, arrays)
    count = threads or max(1, _cores() // workers)

    def make(number: int, stop: Event, listen: "Listen") -> "Worker":
        return Worker(name, location, arrays, number=number, threads=count, timeout=timeout, stop=stop, listen=listen)

    done = run_workers(make, workers, console)
    if not done:
        console.print("stopped; what was in training is queued again, and the same command goes on", highlight=False)
        raise typer.Exit(130)
    console.print(f"next: python -m trainer search report {name}", soft_wrap=True, highlight=False)


@app.command()
def report(
    name: Name,
    storage: Storage = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report. [default: runs/searches]")] = None,
) -> None:
    """Print the best trials and write NAME.json (the plan and all trials) and NAME.png.

    The picture shows accuracy by trial, and accuracy against multiply-accumulates with its Pareto front. Works while
    the study runs.

        python -m trainer search report first --out trainer/results
    """
    # Optuna and Matplotlib take seconds to import.
    from trainer.search.report import HEADINGS, find, ranked, row, write_report
    from trainer.search.study import open_study

    console = Console()
    study, plan = open_study(name, storage or _default(name))
    findings = find(study, plan)
    title = f"{name}: {len(findings.trials)} of {plan.trials} trials"
    console.print(table(title, HEADINGS, map(row, ranked(findings.trials)[:10]), left=(1, len(HEADINGS) - 1)))
    for path in write_report(findings, out or _home(_default(name))):
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)


@app.command()
def export(
    name: Name,
    data: Sources,
    votes: Votes = None,
    class_map: ClassMap = None,
    storage: Storage = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the best architectures.")] = 1,
    config: Annotated[
        Path | None, typer.Option(help="YAML of the full training. [default: the published random.yaml]")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the run directories, NAME-trialN.")] = Path("runs"),
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    model: Annotated[str, typer.Option(help="Model name to serve them under.")] = "random",
    flip: Annotated[bool, typer.Option(help="Average over the mirrored face, at twice the cost.")] = False,
    calibrate: Annotated[bool, typer.Option(help="Fit a temperature on PublicTest: better probabilities.")] = False,
    half: Annotated[bool, typer.Option(help="Store kernels as float16: half the size.")] = False,
    train_only: Annotated[bool, typer.Option("--train-only", help="Export nothing.")] = False,
) -> None:
    """Train the best architectures in full and export them, the best one as the newest version.

    Started again, it resumes a training that was interrupted and leaves finished ones alone. To train on another Keras
    backend than TensorFlow, which alone can export, say --train-only, and run the command again without.

        python -m trainer search export first --data fer2013.csv.gz --top 3
    """
    # Keras takes seconds to import.
    from trainer.ensemble.saved import load_single
    from trainer.export.version import find_version, require_tensorflow, write_version
    from trainer.networks.scores import FLIPPED, PLAIN
    from trainer.search.retrain import best, retrain
    from trainer.search.study import open_study, outcomes

    if not train_only:
        require_tensorflow()
    console = Console()
    settings = load_config(config or published("random"), list(overrides or []))
    study, _ = open_study(name, storage or _default(name))
    chosen = best(name, outcomes(study), top)
    dataset = load(data, class_map=parse_map(class_map), votes=votes)
    facts: dict[str, Any] = {"data": dataset.facts, **provenance()}
    accuracies: dict[Path, float] = {}
    for trial in chosen:
        directory = out / f"{name}-trial{trial.number}"
        console.print(f"trial {trial.number}: accuracy {trial.accuracy:.4f} in the search", highlight=False)
        done = retrain(name, trial, settings, dataset, facts, directory, console)
        accuracies[directory] = done["PublicTest"]["accuracy"]
        console.print(f"{directory}: accuracy {accuracies[directory]:.4f} on PublicTest", soft_wrap=True)
    if train_only:
        return
    for directory in sorted(accuracies, key=accuracies.__getitem__):
        combination, measured = load_single(
            directory, views=FLIPPED if flip else PLAIN, calibrate=calibrate, dataset=dataset
        )
        if (there := find_version(measured, repository / model)) is not None:
            console.print(f"{directory} is {there} already", soft_wrap=True, highlight=False)
            continue
        version = write_version(combination, model, repository, measured, half=half)
        console.print(f"wrote {version} from {directory}", soft_wrap=True, highlight=False)


def _read_specs(path: Path) -> list[ArchitectureSpec]:
    values = read_yaml(path, f"--enqueue {path}")
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ConfigError(f"--enqueue {path}: not a list of specs")
    return [from_json(value) for value in values]


def _default(name: str) -> str:
    return str(Path("runs") / "searches" / f"{name}.journal")


def _home(location: str) -> Path:
    return Path("runs") / "searches" if "://" in location else Path(location).parent


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
