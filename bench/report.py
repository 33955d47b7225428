"""What was measured: numbers, as a table in Markdown and as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Figure:
    """``limit``: what it must be at most, or with ``least`` at least; None where there is only something to know."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether it is within its limit; None where it has none."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def share(self) -> float | None:
        """How much of the limit is used up: above 1 is too much. None where it has none, or a limit of 0."""
        if not self.limit:
            return None
        return (self.limit / self.value if self.value else math.inf) if self.least else self.value / self.limit


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least so many percent do not exceed. Raises ValueError for no values."""
    if not values:
        raise ValueError("a percentile of nothing")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def latencies(name: str, seconds: Sequence[float], percents: Sequence[int] = (50, 99)) -> list[Figure]:
    """A figure in milliseconds for each of the percentiles."""
    return [Figure(f"{name}: p{p}", percentile(seconds, p) * 1000, "ms") for p in percents]


def number(value: float) -> str:
    """Three digits, and no more noughts or powers than it takes."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1g}"


def markdown(figures: Sequence[Figure]) -> str:
    """The table."""
    rows = [("figure", "measured", "limit", "kept"), ("---", "---:", "---:", "---")]
    for f in figures:
        limit = "" if f.limit is None else f"{'at least' if f.least else 'at most'} {number(f.limit)}"
        rows.append((f.name, f"{number(f.value)} {f.unit}".strip(), limit, {None: "", True: "yes", False: "**no**"}[f.kept]))
    widths = [max(len(r[n]) for r in rows) for n in range(4)]
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(r, widths, strict=True))} |" for r in rows)


ROW, LEFT, WIDTH, MOST = 18, 420, 300, 2.0
"""Pixels of a line, of its words, of a bar that uses its limit up; the longest bar, as a share."""


def plot(figures: Sequence[Figure], title: str) -> str:
    """An SVG: one bar for each figure that has a limit, how much of it is used up. The line is the limit."""
    bars = [(f, f.share) for f in figures if f.share is not None]
    height = ROW * (len(bars) + 2)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + int(WIDTH * MOST) + 90}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<text x="4" y="13" font-weight="bold">{escape(title)}</text>',
    ]
    for n, (f, share) in enumerate(bars, 1):
        y, length = n * ROW + 4, max(1, int(WIDTH * min(share, MOST)))
        out.append(f'<text x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(f.name)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y}" width="{length}" height="{ROW - 4}" fill="{"#4a8" if f.kept else "#c54"}"/>')
        out.append(f'<text x="{LEFT + length + 4}" y="{y + 11}">{escape(number(f.value))} {escape(f.unit)}</text>')
    out.append(f'<line x1="{LEFT + WIDTH}" y1="{ROW}" x2="{LEFT + WIDTH}" y2="{height - ROW // 2}" stroke="#333"/>')
    return "\n".join([*out, "</svg>", ""])
