"""A report as one HTML page that needs nothing else: no script, no style sheet, no font, no image from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

from api.reports import plots
from api.reports.schema import Comparison, Report, VariantReport

_STYLE = """
:root { color-scheme: light dark; }
:root { --good: #1a7f37; --bad: #cf222e; --quiet: #6e7781; --line: #8c959f55; --bar: #0969da; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); }
th { text-align: left; font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.advice { padding: .8rem 1rem; border-left: .4rem solid var(--quiet); font-size: 1.05rem; background: #8c959f1a; }
.advice.better { border-color: var(--good); } .advice.worse, .advice.broken { border-color: var(--bad); }
.advice.broken { font-weight: 600; } .quiet { color: var(--quiet); font-size: .9rem; }
.scroll { overflow-x: auto; } svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; }
"""

_KIND = {"variant better": "better", "control better": "worse", "broken split": "broken", "keep running": "open"}


def render(report: Report) -> str:
    """The page. Every name in it is escaped."""
    name = escape(report.experiment)
    sections = [
        f"<h1>Experiment {name}</h1>",
        f'<p class="advice {_KIND[report.verdict]}" role="status">{escape(report.advice)}</p>',
        f'<p class="quiet">As of {report.generated_at:%Y-%m-%d %H:%M} UTC. Where there is no difference, the chance of '
        f"a wrong verdict is at most {report.alpha:.0%} for these weights, however often one looks.</p>",
        "<h2>Accuracy</h2>",
        plots.intervals(
            [
                (one.name, one.accuracy.value, one.accuracy.low, one.accuracy.high)
                for one in report.variants
                if one.accuracy
            ]
        ),
        _variants(report.variants),
        "<h2>Difference to the control</h2>",
        _comparisons(report),
        "<h2>Split</h2>",
        _split(report),
        "<h2>Predicted emotions</h2>",
        plots.shares([(one.name, one.emotions) for one in report.variants if one.emotions]),
        *(part for one in report.variants for part in _confusion(one)),
        "<h2>How to read it</h2>",
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in report.notes) + "</ul>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: {escape(report.verdict)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>"
    )


def _variants(variants: Sequence[VariantReport]) -> str:
    rows = [
        (
            one.name + (" (control)" if one.control else ""),
            ", ".join(f"{answer.model}/{answer.version}" for answer in one.answered_by) or "-",
            f"{one.share:.1%}",
            f"{one.requests:,}",
            _percent(one.fallback_rate),
            f"{one.faces:,}",
            f"{one.feedback:,}",
            f"{one.accuracy.value:.1%} ({one.accuracy.low:.1%} to {one.accuracy.high:.1%})" if one.accuracy else "-",
            "-" if one.macro_f1 is None else f"{one.macro_f1:.3f}",
            _latency(one),
        )
        for one in variants
    ]
    titles = ("variant", "answered by", "share", "requests", "fell back", "faces", "feedback", "accuracy", "macro F1")
    return _table((*titles, "ms p50 / p95 / p99"), rows, words=2)


def _comparisons(report: Report) -> str:
    if not report.comparisons:
        return "<p>There is feedback on one side at most.</p>"
    rows = [
        (
            one.variant,
            _points(one.difference),
            f"{_points(one.interval.low)} to {_points(one.interval.high)}",
            f"{one.p_value:.3g}",
            _always(one),
            "-" if one.always_valid_p is None else f"{one.always_valid_p:.3g}",
            "yes" if one.significant else "no",
            f"{one.needed.still:,}",
        )
        for one in report.comparisons
    ]
    bands = [(one.variant, one.difference, _band(one)) for one in report.comparisons]
    titles = ("variant", "points", "95 % at one look", "p at one look", "at every look", "p at every look", "certain")
    still = f"faces still needed for {100 * report.effect:g} points at power {report.power:g}"
    return plots.differences(bands) + _table((*titles, still), rows, words=1)


def _split(report: Report) -> str:
    split = report.split
    rows = [
        (
            name,
            f"{count:,}",
            f"{split.expected[name]:,.1f}",
            f"{split.requests_per_subject[name]:.2f}",
            f"{split.assigned[name]:,}",
            f"{split.lost[name]:,}",
        )
        for name, count in split.observed.items()
    ]
    warning = (
        '<p class="advice broken" role="alert">Sample-ratio mismatch: the variants do not get what the weights give '
        "them, or lose some. No comparison on this page can be trusted.</p>"
        if split.broken
        else ""
    )
    titles = ("variant", "subjects", "expected", "requests of each", "requests assigned", "lost")
    single_look = "-" if split.chi_square_p is None else f"{split.chi_square_p:.3g}"
    return (
        warning
        + _table(titles, rows, words=1)
        + "".join(f"<p>{escape(warning)}</p>" for warning in split.warnings)
        + f'<p class="quiet">Since {split.since:%Y-%m-%d %H:%M} UTC, when these weights took effect. '
        f"p at every look {split.always_valid_p:.3g} (alarm up to 0.05), at one look {single_look}; p of losses that "
        f"hit all alike {split.lost_p:.3g} (alarm up to 0.001).</p>"
    )


def _confusion(one: VariantReport) -> Iterable[str]:
    if not any(map(any, one.confusion.counts)):
        return
    yield f"<h2>Confusion of {escape(one.name)}</h2>"
    yield plots.heatmap(one.confusion.classes, one.confusion.counts)


def _band(one: Comparison) -> tuple[tuple[float, float], tuple[float, float] | None]:
    always = one.always_valid_interval
    return (one.interval.low, one.interval.high), (always.low, always.high) if always else None


def _always(one: Comparison) -> str:
    interval = one.always_valid_interval
    return f"{_points(interval.low)} to {_points(interval.high)}" if interval else "-"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> str:
    """words: so many columns hold words, the others numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{'' if place < words else ' class=number'}>{escape(cell)}</{tag}>" for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", titles)}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _latency(one: VariantReport) -> str:
    latency = one.latency_ms
    return f"{latency.p50:.0f} / {latency.p95:.0f} / {latency.p99:.0f}" if latency else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
