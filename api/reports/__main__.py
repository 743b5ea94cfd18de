"""python -m api.reports: reports and retention from the command line, on the database of EMOTION_DATABASE_URL."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from api.addresses import parse_url
from api.errors import UnknownExperiment
from api.outcomes import retention
from api.outcomes.database import SchemaError, open_engine
from api.outcomes.migrate import UPGRADE, require_newest
from api.outcomes.store import DATABASE_ERRORS, OutcomeStore
from api.reports.report import read_report
from api.reports.schema import IntervalOut, Report
from api.settings import Settings, WrongSettingsError, read_settings

app = typer.Typer(
    help="Outcomes of A/B experiments, in the database of EMOTION_DATABASE_URL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Result = TypeVar("Result")

_COLOURS = {"variant better": "green", "control better": "yellow", "broken split": "bold red", "keep running": "blue"}


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of the experiment.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    effect: Annotated[float, typer.Option(min=0.001, max=0.5, help="Difference of accuracy worth finding.")] = 0.02,
    power: Annotated[float, typer.Option(min=0.5, max=0.99, help="Chance to find it.")] = 0.8,
) -> None:
    """Which variant is better, and what to do. The exit status is 3 when the split is broken."""
    found = _run(lambda store, _: read_report(store, name, effect=effect, power=power))
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _show(found)
    if found.verdict == "broken split":
        raise typer.Exit(3)


@app.command()
def prune() -> None:
    """Delete predictions that are older than EMOTION_RETENTION_DAYS, as every gateway does hourly."""
    print(f"predictions deleted: {_run(lambda store, settings: retention.prune(store, settings.retention_days))}")


def _run(work: Callable[[OutcomeStore, Settings], Awaitable[Result]]) -> Result:
    """What `work` returns; ends the program in one line when it cannot."""
    try:
        settings = read_settings()
    except WrongSettingsError as error:
        _fail(str(error))
    url = parse_url(settings.database_url.get_secret_value())
    # Without the query, which may hold a password, too.
    name = url.set(query={}).render_as_string()

    async def run() -> Result:
        engine = open_engine(url)
        try:
            return await work(OutcomeStore(engine), settings)
        finally:
            await engine.dispose()

    try:
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            # Opening it would make an empty one.
            raise SchemaError(f"there is no such file; {UPGRADE}")
        require_newest(url)
        return asyncio.run(run())
    except UnknownExperiment as error:
        _fail(error.detail)
    except SchemaError as error:
        _fail(f"{name}: {error}", status=2)
    except DATABASE_ERRORS as error:
        _fail(f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}")


def _fail(message: str, status: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(status)


def _show(found: Report) -> None:
    console = Console(highlight=False)
    console.print(Panel(found.advice, title=found.experiment, border_style=_COLOURS[found.verdict]))
    console.print(_variants(found))
    if found.comparisons:
        console.print(_comparisons(found))
    split = ", ".join(
        f"{name} {count:,} for {found.split.expected[name]:,.0f}" for name, count in found.split.observed.items()
    )
    console.print(
        f"Split since {found.split.since:%Y-%m-%d %H:%M} UTC: {split}; "
        f"p at every look {found.split.always_valid_p:.3g}, of losses that hit all alike {found.split.lost_p:.3g}."
    )


def _variants(found: Report) -> Table:
    rows = (
        (
            one.name + (" (control)" if one.control else ""),
            ", ".join(f"{answer.model}/{answer.version}" for answer in one.answered_by),
            f"{one.requests:,}",
            f"{one.lost:,}",
            one.fallback_rate is not None and f"{one.fallback_rate:.2%}",
            f"{one.faces:,}",
            f"{one.feedback:,}",
            one.accuracy and f"{one.accuracy.value:.1%} ({one.accuracy.low:.1%} to {one.accuracy.high:.1%})",
            one.macro_f1 is not None and f"{one.macro_f1:.3f}",
            one.latency_ms and "/".join(f"{milliseconds:.0f}" for _, milliseconds in one.latency_ms),
        )
        for one in found.variants
    )
    titles = ("variant", "answered by", "requests", "lost", "fell back", "faces", "feedback", "accuracy", "macro F1")
    return _table((*titles, "ms p50/p95/p99"), rows)


def _comparisons(found: Report) -> Table:
    rows = (
        (
            one.variant,
            f"{100 * one.difference:+.1f}",
            _points(one.interval),
            f"{one.p_value:.3g}",
            one.always_valid_interval and _points(one.always_valid_interval),
            one.always_valid_p is not None and f"{one.always_valid_p:.3g}",
            f"{one.needed.still:,}",
        )
        for one in found.comparisons
    )
    return _table(
        ("variant", "points", "95 % at one look", "p", "at every look", "p at every look", "still needed"), rows
    )


def _table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A cell without a value is a dash."""
    table = Table(*titles)
    for row in rows:
        table.add_row(*(str(cell or "-") for cell in row))
    return table


def _points(interval: IntervalOut) -> str:
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


if __name__ == "__main__":
    app()
