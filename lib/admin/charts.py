"""Pictures of numbers as SVG in the page: no script, and colours by class, as the policy asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 720, 120
_SPARK = 8


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of one kind, one for each moment of the chart; `css` is one of `chart-1` to `chart-6`, `chart-bad`."""

    name: str
    values: Sequence[int]
    css: str

    @property
    def total(self) -> int:
        return sum(self.values)


def sparkline(values: Sequence[int]) -> SafeString:
    """Steps of a row of numbers, 8 units high, for a cell; what it says stands beside it in words."""
    most = max(values, default=0)
    if not most:
        return SafeString("")
    heights = [-(-value * _SPARK // most) for value in values]
    # Neighbours of one height are one step.
    steps = "".join(f"V{_SPARK - height}h{len(list(same))}" for height, same in groupby(heights))
    return format_html(
        '<svg class="spark" viewBox="0 0 {} {}" aria-hidden="true"><path d="{}"/></svg>',
        *(len(heights), _SPARK, f"M0 {_SPARK}{steps}V{_SPARK}z"),
    )


def stacked_bars(series: Sequence[Series], labels: Sequence[str], *, title: str) -> SafeString:
    """A bar for each moment, the series on top of each other; each bar says its numbers to who points at it.

    `labels` name the moments. The numbers belong into a table beside it: `title` is all that is read out.
    """
    sums = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    most, step = max(sums, default=0) or 1, WIDTH / max(len(labels), 1)
    bars = []
    for at, label in enumerate(labels):
        if not sums[at]:
            continue
        parts, bottom = [], float(HEIGHT)
        for each in series:
            height = round(each.values[at] * HEIGHT / most, 1)
            top = round(bottom - height, 1)
            if height:
                parts.append((each.css, f"{(at + 0.5) * step:.1f}", f"{bottom:g}", f"{top:g}"))
            bottom = top
        numbers = ", ".join(f"{each.name} {each.values[at]:,}" for each in series if each.values[at])
        drawn = format_html_join("", '<path class="{}" d="M{} {}V{}"/>', parts)
        bars.append((f"{label}: {numbers}", drawn))
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" stroke-width="{}" role="img" aria-label="{}">{}</svg>',
        *(WIDTH, HEIGHT, round(max(step - 1, 0.5), 1), title, format_html_join("", "<g><title>{}</title>{}</g>", bars)),
    )


def hour_labels(hours: Iterable[datetime]) -> list[str]:
    """In the reader's time zone and language."""
    return [date_format(timezone.localtime(hour), "DAY_AND_HOUR") for hour in hours]


@dataclass(frozen=True, slots=True)
class Chart:
    """What `admin/chart.html` shows: the picture, its key, and the numbers of each moment that has any."""

    title: str
    series: Sequence[Series]
    labels: Sequence[str]

    @property
    def svg(self) -> SafeString:
        return stacked_bars(self.series, self.labels, title=self.title)

    @property
    def rows(self) -> list[tuple[str, list[int]]]:
        found = [(label, [each.values[at] for each in self.series]) for at, label in enumerate(self.labels)]
        return [row for row in reversed(found) if any(row[1])]

    @property
    def first(self) -> str:
        return self.labels[0] if self.labels else ""

    @property
    def last(self) -> str:
        return self.labels[-1] if self.labels else ""
