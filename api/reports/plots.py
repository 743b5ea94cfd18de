"""Small plots as inline SVG. Each has a title that says in words what it shows."""

from collections.abc import Mapping, Sequence
from html import escape

_LABEL, _WIDTH, _ROW = 140, 720, 30
_COLOURS = ("#cf222e", "#8250df", "#57606a", "#d4a72c", "#0969da", "#bc4c00", "#1a7f37", "#0a7d91", "#9a6700")

Span = tuple[float, float]


def intervals(rows: Sequence[tuple[str, float, float, float]]) -> str:
    """(name, value, low, high) each, as points with whiskers on one axis of shares."""
    if not rows:
        return "<p>There is no feedback yet.</p>"
    scale = _Scale(min(row[2] for row in rows), max(row[3] for row in rows))
    marks = [
        _whisker(scale, index, low, high, "currentColor", 2) + _point(scale, index, value) + _name(index, name)
        for index, (name, value, low, high) in enumerate(rows)
    ]
    return _svg(
        "Accuracy of each variant with its 95 % interval", len(rows), "".join(marks) + scale.axis(len(rows), "%")
    )


def differences(rows: Sequence[tuple[str, float, tuple[Span, Span | None]]]) -> str:
    """(name, difference, (interval of one look, of every look)) each; zero is marked."""
    spans = [span for _, _, pair in rows for span in pair if span]
    scale = _Scale(min(0.0, *(low for low, _ in spans)), max(0.0, *(high for _, high in spans)))
    zero = scale.x(0)
    marks = [
        f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{_ROW * len(rows)}" stroke="currentColor" opacity=".5"/>'
    ]
    for index, (name, difference, (once, always)) in enumerate(rows):
        if always:
            marks.append(_whisker(scale, index, *always, "var(--quiet)", 7))
        marks += [
            _whisker(scale, index, *once, "currentColor", 2),
            _point(scale, index, difference),
            _name(index, name),
        ]
    title = "Difference of accuracy to the control: thin, the interval of one look; thick, of every look"
    return _svg(title, len(rows), "".join(marks) + scale.axis(len(rows), " points"))


def shares(rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Each variant's shares, which add up to 1, as one stacked bar; a legend names the colours."""
    if not rows:
        return "<p>There are no faces yet.</p>"
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    marks = []
    for index, (label, parts) in enumerate(rows):
        x = float(_LABEL)
        for name, share in parts.items():
            width = share * (_WIDTH - _LABEL - 10)
            words = escape(f"{label}: {name} {share:.1%}")
            marks.append(
                f'<rect x="{x:.1f}" y="{index * _ROW + 4}" width="{width:.1f}" height="{_ROW - 8}" '
                f'fill="{colours[name]}"><title>{words}</title></rect>'
            )
            x += width
        marks.append(_name(index, label))
    legend = " ".join(
        f'<span style="white-space:nowrap"><span style="color:{colours[name]}">&#9632;</span> {escape(name)}</span>'
        for name in names
    )
    return _svg("Share of each predicted emotion by variant", len(rows), "".join(marks), foot=0) + f"<p>{legend}</p>"


def heatmap(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """counts[truth][predicted], shaded by share of the row."""
    cell, top = 62, 24
    marks = [
        f'<text x="{_LABEL + place * cell + cell / 2}" y="15" text-anchor="middle">{escape(name)}</text>'
        for place, name in enumerate(names)
    ]
    for index, row in enumerate(counts):
        y = top + index * _ROW
        marks.append(f'<text x="{_LABEL - 8}" y="{y + 20}" text-anchor="end">{escape(names[index])}</text>')
        for place, count in enumerate(row):
            x = _LABEL + place * cell
            strength = count / sum(row) if count else 0.0
            words = escape(f"truly {names[index]}, predicted {names[place]}: {count}")
            marks.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{_ROW - 2}" fill="var(--bar)" '
                f'fill-opacity="{0.75 * strength + 0.03:.2f}"><title>{words}</title></rect>'
                f'<text x="{x + cell / 2 - 1}" y="{y + 19}" text-anchor="middle">{count}</text>'
            )
    title = "Confusion: a row for each true emotion, a column for each predicted one"
    return _frame(title, _LABEL + cell * len(names), top + _ROW * len(names), "".join(marks))


class _Scale:
    """Shares to pixels, with some room at both ends."""

    def __init__(self, low: float, high: float) -> None:
        room = max(0.05 * (high - low), 0.005)
        self._low, self._high = low - room, high + room

    def x(self, value: float) -> float:
        return _LABEL + (value - self._low) / (self._high - self._low) * (_WIDTH - _LABEL - 10)

    def axis(self, rows: int, unit: str) -> str:
        y = rows * _ROW + 4
        ticks = [self._low + (self._high - self._low) * part / 6 for part in range(1, 6)]
        return "".join(
            f'<line x1="{self.x(tick):.1f}" x2="{self.x(tick):.1f}" y1="0" y2="{y}" stroke="var(--line)"/>'
            f'<text x="{self.x(tick):.1f}" y="{y + 14}" text-anchor="middle">{100 * tick:.1f}{unit}</text>'
            for tick in ticks
        )


def _whisker(scale: _Scale, index: int, low: float, high: float, colour: str, width: int) -> str:
    y = index * _ROW + _ROW / 2
    return (
        f'<line x1="{scale.x(low):.1f}" x2="{scale.x(high):.1f}" y1="{y}" y2="{y}" '
        f'stroke="{colour}" stroke-width="{width}" stroke-opacity="{0.4 if width > 2 else 1}"/>'
    )


def _point(scale: _Scale, index: int, value: float) -> str:
    return f'<circle cx="{scale.x(value):.1f}" cy="{index * _ROW + _ROW / 2}" r="4.5" fill="var(--bar)"/>'


def _name(index: int, name: str) -> str:
    short = name if len(name) <= 20 else name[:19] + "\N{HORIZONTAL ELLIPSIS}"
    return f'<text x="{_LABEL - 8}" y="{index * _ROW + _ROW / 2 + 4}" text-anchor="end">{escape(short)}</text>'


def _svg(title: str, rows: int, content: str, foot: int = 24) -> str:
    return _frame(title, _WIDTH, rows * _ROW + foot, content)


def _frame(title: str, width: int, height: int, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{escape(title)}</title>{content}</svg>'
    )
