"""Gnocchi's operations over series that lie in several sites: what each site is asked, and how its answers combine. Pure.

A mean of means is wrong wherever sites have different numbers of series. So each site is asked for what can be combined
(``PARTS``), and what is asked for is computed from that. Exact: sum, count, min and max; mean from sum and count; var and std
from count, mean and var (Chan's formula: no difference of large squares). ``rate:x`` is the difference of combined x. A median
has no parts, and what looks at neighbours in one site's grid of times (rolling, resample, rateofchange, fills other than dropna)
would see another grid: those are refused, not approximated.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Node = Any
"""A number, or a list that begins with the operation's name."""
Point = tuple[float, str]
"""Granularity in seconds and timestamp (ISO 8601, UTC: they sort as they stand)."""
Series = Mapping[Point, float]

PARTS: Mapping[str, tuple[str, ...]] = {
    "sum": ("sum",),
    "count": ("count",),
    "min": ("min",),
    "max": ("max",),
    "mean": ("sum", "count"),
    "var": ("sum", "count", "var"),
    "std": ("sum", "count", "var"),
}
"""Aggregate -> what is asked of each site for it."""
_UNARY: Mapping[str, Callable[[float], float]] = {
    "abs": abs, "absolute": abs, "neg": operator.neg, "negative": operator.neg, "cos": math.cos, "sin": math.sin,
    "tan": math.tan, "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
_BINARY: Mapping[str, Callable[[float, float], float]] = {
    **dict.fromkeys(("=", "==", "eq"), operator.eq), **dict.fromkeys(("<", "lt"), operator.lt),
    **dict.fromkeys((">", "gt"), operator.gt), **dict.fromkeys(("<=", "≤", "le"), operator.le),
    **dict.fromkeys((">=", "≥", "ge"), operator.ge), **dict.fromkeys(("!=", "≠", "ne"), operator.ne),
    **dict.fromkeys(("%", "mod"), operator.mod), **dict.fromkeys(("+", "add"), operator.add),
    **dict.fromkeys(("-", "sub"), operator.sub), **dict.fromkeys(("*", "×", "mul"), operator.mul),
    **dict.fromkeys(("/", "÷", "div"), operator.truediv), **dict.fromkeys(("**", "^", "pow"), operator.pow),
    "clip_min": max, "clip_max": min, "max": max,
}  # fmt: skip
_WORD = re.compile(r"\(|\)|\"[^\"]*\"|'[^']*'|[^\s()]+")


class NotCombinable(ValueError):
    """The operation cannot be computed from answers of several sites; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a site: its aggregate of series that an elementwise operation made."""

    part: str
    inner: str
    """The operation below the aggregate, as text."""

    @property
    def text(self) -> str:
        """The operation a site is asked for."""
        asked = f"(aggregate {self.part} {self.inner})"
        # Gnocchi up to 4.7.1 cannot write down the integers of a bare count and answers 500.
        return f"(* {asked} 1.0)" if self.part == "count" else asked


def parse(operations: object) -> Node:
    """The tree of operations given as text or as lists. Raises ValueError for what is neither."""
    if not isinstance(operations, str):
        return _checked(operations)
    stack: list[list[Node]] = [[]]
    for word in _WORD.findall(operations):
        if word == "(":
            stack.append([])
        elif word == ")":
            if len(stack) == 1:
                raise ValueError("unbalanced")
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(_atom(word.strip("\"'")))
    if len(stack) != 1 or len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise ValueError("unbalanced")
    return _checked(stack[0][0])


def _atom(word: str) -> str | float:
    try:
        return float(word)
    except ValueError:
        return word


def _checked(node: Node) -> Node:
    """A list of names, numbers and such lists. Raises ValueError."""
    if isinstance(node, list):
        if not node:
            raise ValueError("empty operation")
        return [_checked(child) for child in node]
    if isinstance(node, bool) or not isinstance(node, str | int | float):
        raise ValueError("not an operation")
    return node


def render(node: Node) -> str:
    """The text of a tree."""
    if isinstance(node, list):
        return f"({' '.join(render(child) for child in node)})"
    return repr(float(node)) if isinstance(node, int | float) else str(node)


def references(node: Node) -> list[tuple[str, str]]:
    """Every (metric, aggregation) a tree names, once, in order. Raises ValueError for a metric node that is none."""
    if not isinstance(node, list):
        return []
    if node[0] == "metric":
        pairs = node[1:] if len(node) > 1 and isinstance(node[1], list) else [node[1:]]
        if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(x, str) for x in p) for p in pairs):
            raise ValueError("not a reference")
        return list(dict.fromkeys((p[0], p[1]) for p in pairs))
    return list(dict.fromkeys(ref for child in node[1:] for ref in references(child)))


def restricted(node: Node, known: Callable[[str], bool]) -> Node | None:
    """An elementwise tree with only the metrics one site has; None where none is left."""
    if not isinstance(node, list):
        return node
    if node[0] == "metric":
        kept = [list(ref) for ref in references(node) if known(ref[0])]
        if not kept:
            return None
        return ["metric", *kept[0]] if len(kept) == 1 else ["metric", *kept]
    below = [restricted(child, known) for child in node[1:]]
    return None if None in below else [node[0], *below]


def elementwise(node: Node) -> bool:
    """Whether a tree works on each value of each series by itself, so that sites do not matter."""
    if not isinstance(node, list):
        return False
    if node[0] == "metric":
        return True
    if node[0] in _UNARY and len(node) == 2:
        return elementwise(node[1])
    if node[0] in _BINARY and len(node) == 3:
        series = [child for child in node[1:] if isinstance(child, list)]
        return len(series) == 1 and elementwise(series[0])
    return node[0] == "clip" and len(node) == 4 and elementwise(node[1]) and not any(isinstance(n, list) for n in node[2:])


def asks(node: Node) -> list[tuple[Ask, Node]]:
    """What each site is to be asked for an aggregated tree, with the elementwise tree below. Raises NotCombinable."""
    found: dict[Ask, Node] = {}
    for child in node if isinstance(node, list) else ():
        if isinstance(child, list) and node[0] != "aggregate":
            found |= dict(asks(child))
    if isinstance(node, list):
        if node[0] == "aggregate" and len(node) == 3:
            base = str(node[1]).removeprefix("rate:")
            if base not in PARTS:
                raise NotCombinable(f"'{node[1]}' cannot be computed over several sites")
            if not elementwise(node[2]):
                raise NotCombinable(f"'{_head(node[2])}' below 'aggregate' cannot be computed over several sites")
            found |= {Ask(part, render(node[2])): node[2] for part in PARTS[base]}
        elif not (node[0] in _UNARY and len(node) == 2) and not (node[0] in _BINARY and len(node) == 3):
            raise NotCombinable(f"'{node[0]}' cannot be computed over several sites")
        if not found:
            raise NotCombinable("no aggregate of series")
    return list(found.items())


def evaluate(node: Node, answers: Mapping[Ask, Sequence[Series]]) -> Series | float:
    """An aggregated tree over all sites' answers: ``answers`` holds one series per site, at the same place for every ask.

    What cannot be said (division by zero, no number) has no point, as with Gnocchi's own ``dropna``. Raises NotCombinable where
    two series have different times.
    """
    if not isinstance(node, list):
        return float(node)
    if node[0] == "aggregate":
        return _combined(str(node[1]), render(node[2]), answers)
    if node[0] in _UNARY:
        only = evaluate(node[1], answers)
        return _each(lambda x: _UNARY[node[0]](x), only)
    left, right = evaluate(node[1], answers), evaluate(node[2], answers)
    work = _BINARY[node[0]]
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left.keys() != right.keys():
            raise NotCombinable(f"the series of '{node[0]}' have different times")
        return _kept((at, work, (x, right[at])) for at, x in left.items())
    if isinstance(left, Mapping):
        return _each(lambda x: work(x, float(right)), left)  # type: ignore[arg-type]
    return _each(lambda x: work(float(left), x), right)


def _each(work: Callable[[float], float], series: Series | float) -> Series | float:
    if not isinstance(series, Mapping):
        return float(work(series))
    return _kept((at, work, (x,)) for at, x in series.items())


def _kept(cases: Iterable[tuple[Point, Callable[..., float], tuple[Any, ...]]]) -> Series:
    out: dict[Point, float] = {}
    for at, work, given in cases:
        try:
            value = work(*given)
        except (ArithmeticError, ValueError):
            continue
        if isinstance(value, int | float) and math.isfinite(value):
            out[at] = float(value)
    return out


def _combined(aggregate: str, inner: str, answers: Mapping[Ask, Sequence[Series]]) -> Series:
    base = aggregate.removeprefix("rate:")
    sites = list(zip(*(answers[Ask(part, inner)] for part in PARTS[base]), strict=True))
    # A site goes on measuring between two questions: a time that only one of its answers knows is not said yet.
    known = [(site, set.intersection(*(set(part) for part in site))) for site in sites]
    points = sorted(set().union(*(times for _, times in known)))
    series = _kept(
        (at, _joined, (base, [tuple(part[at] for part in site) for site, times in known if at in times])) for at in points
    )
    return series if base == aggregate else _differences(series)


def _joined(base: str, parts: Sequence[tuple[float, ...]]) -> float:
    """One value of all sites' parts at one time. Raises ArithmeticError where there is none: too large, or the mean of nothing."""
    if base in ("sum", "count"):
        return math.fsum(p[0] for p in parts)
    if base in ("min", "max"):
        return (min if base == "min" else max)(p[0] for p in parts)
    parts = [p for p in parts if p[1]]  # of measures that are no numbers there is a count, of none
    many = math.fsum(p[1] for p in parts)
    mean = math.fsum(p[0] for p in parts) / many
    if base == "mean":
        return mean
    var = math.fsum(p[1] * (p[2] + (p[0] / p[1] - mean) ** 2) for p in parts) / many
    return var if base == "var" else math.sqrt(var)


def _differences(series: Series) -> Series:
    out: dict[Point, float] = {}
    before: dict[float, float] = {}
    for (granularity, time), value in sorted(series.items()):
        if granularity in before:
            out[granularity, time] = value - before[granularity]
        before[granularity] = value
    return out


def in_common(series: Sequence[Series]) -> set[float]:
    """The granularities that every site with any point has: as Gnocchi does, nothing is said of the others."""
    found = [{granularity for granularity, _ in one} for one in series if one]
    return set.intersection(*found) if found else set()


def read(measures: Sequence[Sequence[Any]]) -> Series:
    """``[[timestamp, granularity, value], ...]`` of a site."""
    return {(float(granularity), str(time)): float(value) for time, granularity, value in measures}


def written(series: Series, granularities: Iterable[float]) -> list[list[Any]]:
    """The same north: coarse ones first, then by time."""
    kept = set(granularities)
    rows = sorted((p for p in series if p[0] in kept), key=lambda p: (-p[0], p[1]))
    return [[time, granularity, series[granularity, time]] for granularity, time in rows]


def _head(node: Node) -> str:
    return str(node[0]) if isinstance(node, list) else str(node)
