"""Each track's emotions over time, as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, PercentFormatter

from emotion_client.emotions import CLASSES, Language, colour, name
from emotion_client.video.errors import VideoError
from emotion_client.video.tracks import MEMORY_S, Track

_BINS = 2000
"""Of the whole video at most: a picture has no more columns, and memory stays flat."""
_LARGEST = 12
"""Tracks that are drawn: those that were seen longest."""
_WORDS = {
    "en": ("track {}", "time", "and {} more, seen more briefly", "no face"),
    "vi": ("khuôn mặt {}", "thời gian", "và {} khuôn mặt khác, thấy ngắn hơn", "không có khuôn mặt"),
}


@dataclass(slots=True)
class _Bin:
    count: int
    sums: list[float]


@dataclass
class Timeline:
    """Collects what tracks are like, and draws it.

    Args:
        step_s: time between two frames that are looked at, roughly.
    """

    step_s: float
    _width_s: float = 0.05
    _start_s: float | None = None
    _end_s: float = 0.0
    _tracks: dict[int, dict[int, _Bin]] = field(default_factory=dict)

    def add(self, time_s: float, tracks: Sequence[Track]) -> None:
        """A frame's tracks."""
        if self._start_s is None:
            self._start_s = time_s
        self._end_s = max(self._end_s, time_s)
        while (time_s - self._start_s) / self._width_s >= _BINS:
            self._halve()
        place = max(0, int((time_s - self._start_s) / self._width_s))
        for track in tracks:
            values = [track.smoothed.get(emotion, 0.0) for emotion in CLASSES]
            _add(self._tracks.setdefault(track.number, {}), place, _Bin(1, values))

    def _halve(self) -> None:
        """Bins twice as wide, and so half as many."""
        self._width_s *= 2
        for number, bins in self._tracks.items():
            merged: dict[int, _Bin] = {}
            for place, one in bins.items():
                _add(merged, place // 2, one)
            self._tracks[number] = merged

    def draw(self, path: Path, language: Language, title: str) -> None:
        """Write the picture; its ending tells the format, such as .png or .svg.

        Raises:
            OSError, ValueError: it cannot be written.
        """
        person, time, more, nobody = _WORDS[language]
        longest = sorted(self._tracks, key=lambda number: -len(self._tracks[number]))[:_LARGEST]
        figure = Figure(figsize=(12, 1.3 + 1.5 * max(1, len(longest))), dpi=110, layout="constrained")
        rows: list[Axes] = list(figure.subplots(max(1, len(longest)), sharex=True, squeeze=False)[:, 0])
        start, end = self._start_s or 0.0, max(self._end_s, (self._start_s or 0.0) + self.step_s)
        for axes, number in zip(rows, sorted(longest), strict=False):
            self._draw_track(axes, self._tracks[number], language)
            axes.set_ylabel(person.format(number))
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_yticks([0, 0.5, 1])
            axes.set_facecolor("#f1f2f4")
            axes.spines[["top", "right"]].set_visible(False)
        rows[-1].set_xlim(start, end)
        if end - start >= 4:
            rows[-1].xaxis.set_major_locator(MultipleLocator(_tick_s(end - start)))
        rows[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value)))
        rows[-1].set_xlabel(time)
        if longest:
            handles, labels = rows[0].get_legend_handles_labels()
            figure.legend(
                handles[: len(CLASSES)], labels[: len(CLASSES)], loc="outside lower center", ncols=7, frameon=False
            )
        else:
            rows[0].set_yticks([])
            rows[0].text(0.5, 0.5, nobody, transform=rows[0].transAxes, ha="center", va="center")
        hidden = len(self._tracks) - len(longest)
        figure.suptitle(title + (f" ({more.format(hidden)})" if hidden else ""), fontsize=12)
        figure.savefig(path)

    def _draw_track(self, axes: Axes, bins: dict[int, _Bin], language: Language) -> None:
        step = max(self._width_s, self.step_s)
        gap = max(MEMORY_S, 1.5 * step)
        labels = [name(emotion, language) for emotion in CLASSES]
        colours = [colour(emotion) for emotion in CLASSES]
        runs: list[list[int]] = []
        for place in sorted(bins):
            if runs and (place - runs[-1][-1]) * self._width_s <= gap:
                runs[-1].append(place)
            else:
                runs.append([place])
        for run in runs:
            rows = [[value / bins[place].count for value in bins[place].sums] for place in run]
            times = [(self._start_s or 0.0) + place * self._width_s for place in run]
            # A frame is seen until the next one.
            times.append(times[-1] + step)
            rows.append(rows[-1])
            axes.stackplot(times, list(zip(*rows, strict=True)), labels=labels, colors=colours, linewidth=0)


def check(path: Path) -> None:
    """Before hours of work: can a picture be written there?

    Raises:
        VideoError: it cannot.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats or not path.absolute().parent.is_dir():
        raise VideoError(f"{path}: cannot be written: the folder must be there, and the name end in .png, .svg or .pdf")


def _add(bins: dict[int, _Bin], place: int, one: _Bin) -> None:
    if place in bins:
        have = bins[place]
        bins[place] = _Bin(have.count + one.count, [a + b for a, b in zip(have.sums, one.sums, strict=True)])
    else:
        bins[place] = one


def _tick_s(seconds: float) -> float:
    """Between labels of the time axis: at most 12 of them, at times that a clock has."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600)
    return next((step for step in steps if seconds <= 12 * step), 3_600 * -(-seconds // (12 * 3_600)))


def _clock(seconds: float) -> str:
    """12.5 s as 0:12.5, for labels of the time axis."""
    minutes, rest = divmod(round(seconds, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:05.2f}".rstrip("0").rstrip(".") if rest % 1 else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
