"""python -m api.reports: reports and retention from the command line, on the database of EMOTION_DATABASE_URL."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from api.errors import UnknownExperiment
from api.outcomes.database import open_engine, parse_url
from api.outcomes.migrate import migrate
from api.outcomes.store import DATABASE_ERRORS, OutcomeStore
from api.reports.html import render
from api.reports.report import build_report
from api.reports.schema import Report, VariantReport
from api.settings import Settings, explain

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
    html: Annotated[Path | None, typer.Option(help="Write the page with plots to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    effect: Annotated[float, typer.Option(min=0.001, max=0.5, help="Difference of accuracy worth finding.")] = 0.02,
    power: Annotated[float, typer.Option(min=0.5, max=0.99, help="Chance to find it.")] = 0.8,
) -> None:
    """Which variant is better, and what to do. The exit status is 3 when the split is broken."""
    found = _run(lambda store, _: build_report(store, name, effect=effect, power=power))
    if html is not None:
        try:
            html.write_text(render(found), encoding="utf-8")
        except OSError as error:
            _fail(f"cannot write {html}: {error.strerror}")
    if as_json:
        print(found.model_dump_json(indent=2))
    elif html is None:
        _show(found)
    if found.verdict == "broken split":
        raise typer.Exit(3)


@app.command()
def prune() -> None:
    """Delete predictions that are older than EMOTION_RETENTION_DAYS, as every gateway does hourly."""
    deleted = _run(lambda store, settings: store.prune(datetime.now(UTC) - timedelta(days=settings.retention_days)))
    print(f"predictions deleted: {deleted}")


def _run(work: Callable[[OutcomeStore, Settings], Awaitable[Result]]) -> Result:
    """What `work` returns; ends the program in one line when it cannot."""
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        _fail("\n".join(explain(error)))
    url = parse_url(settings.database_url.get_secret_value())
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        # A report on nothing would make an empty database there.
        _fail(f"there is no file {url.database}")

    async def run() -> Result:
        engine = open_engine(url)
        try:
            return await work(OutcomeStore(engine), settings)
        finally:
            await engine.dispose()

    try:
        migrate(url)
        return asyncio.run(run())
    except UnknownExperiment as error:
        _fail(error.detail)
    except DATABASE_ERRORS as error:
        # Without the query, which may hold a password, too.
        _fail(f"{url.set(query={}).render_as_string()}: {(str(error).splitlines() or [type(error).__name__])[0]}")


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(1)


def _show(found: Report) -> None:
    console = Console()
    console.print(Panel(found.advice, title=found.experiment, border_style=_COLOURS[found.verdict]))
    variants = Table(
        "variant", "answered by", "requests", "lost", "fell back", "faces", "feedback", "accuracy", "macro F1"
    )
    variants.add_column("ms p50/p95/p99")
    for one in found.variants:
        variants.add_row(*_row(one))
    console.print(variants)
    if found.comparisons:
        table = Table("variant", "points", "95 % at one look", "p", "at every look", "p at every look", "still needed")
        for comparison in found.comparisons:
            always = comparison.always_valid_interval
            table.add_row(
                comparison.variant,
                f"{100 * comparison.difference:+.1f}",
                f"{100 * comparison.interval.low:+.1f} to {100 * comparison.interval.high:+.1f}",
                f"{comparison.p_value:.3g}",
                f"{100 * always.low:+.1f} to {100 * always.high:+.1f}" if always else "-",
                "-" if comparison.always_valid_p is None else f"{comparison.always_valid_p:.3g}",
                f"{comparison.needed.still:,}",
            )
        console.print(table)
    split = ", ".join(
        f"{name} {count:,} for {found.split.expected[name]:,.0f}" for name, count in found.split.observed.items()
    )
    console.print(
        f"Split since {found.split.since:%Y-%m-%d %H:%M} UTC: {split}; "
        f"p at every look {found.split.always_valid_p:.3g}, of losses that hit all alike {found.split.lost_p:.3g}.",
        highlight=False,
    )
    for warning in found.split.warnings:
        console.print(warning, highlight=False, markup=False)


def _row(one: VariantReport) -> list[str]:
    accuracy, latency = one.accuracy, one.latency_ms
    return [
        one.name + (" (control)" if one.control else ""),
        ", ".join(f"{answer.model}/{answer.version}" for answer in one.answered_by),
        f"{one.requests:,}",
        f"{one.lost:,}",
        "-" if one.fallback_rate is None else f"{one.fallback_rate:.2%}",
        f"{one.faces:,}",
        f"{one.feedback:,}",
        f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})" if accuracy else "-",
        "-" if one.macro_f1 is None else f"{one.macro_f1:.3f}",
        f"{latency.p50:.0f}/{latency.p95:.0f}/{latency.p99:.0f}" if latency else "-",
    ]


if __name__ == "__main__":
    app()
