"""Merging the sites' lists by stream position. Pure.

A site's list is not sorted by what is asked for: Nova puts servers that are still build requests in front of all others
(design review 4.2). So the rows of one site are never reordered; of the sites' *next* rows the smallest comes first.
That choice needs nothing but the next rows themselves, so a walk in pages gives the same list as one page, and where every
site's list is sorted, so is the result.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Merged(Generic[R]):
    """One page. ``rows`` with the site each came from; ``taken`` rows of each site; ``more``: some are left."""

    rows: list[tuple[str, R]]
    taken: dict[str, int]
    more: bool
    starved: frozenset[str]
    """Open sites that ran out before the page was full: nothing may follow until their next rows are here."""


def merge(streams: Mapping[str, Sequence[R]], limit: int, *, key: Callable[[R], Any], open: Collection[str] = ()) -> Merged[R]:
    """Up to ``limit`` rows. ``open``: sites that may have rows beyond those given.

    ``key`` must give comparable values; equal ones are settled by the site's name.
    """
    taken = dict.fromkeys(streams, 0)
    rows: list[tuple[str, R]] = []
    starved = frozenset(site for site, found in streams.items() if not found and site in open)
    heads = [(key(found[0]), site) for site, found in streams.items() if found]
    heapq.heapify(heads)
    while heads and len(rows) < limit and not starved:
        _, site = heads[0]
        found, at = streams[site], taken[site]
        rows.append((site, found[at]))
        taken[site] = at = at + 1
        if at < len(found):
            heapq.heapreplace(heads, (key(found[at]), site))
        else:
            heapq.heappop(heads)
            if site in open:
                starved = frozenset({site})
    full = len(rows) >= limit
    return Merged(rows, taken, more=bool(heads) or bool(starved), starved=frozenset() if full else starved)


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key: a field of the row as the API shows it (``image.id`` looks inside), and its direction."""

    field: str
    descending: bool = False


def parse_ties(ties: Sequence[str]) -> tuple[Order, ...]:
    """``("created_at:desc", "uuid:asc")``, as a table row says it."""
    return tuple(Order(name, direction == "desc") for name, _, direction in (t.partition(":") for t in ties))


def sort_key(orders: Sequence[Order]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A key function for rows as decoded documents.

    Values compare as MariaDB's do, which most sites have: nothing before something, letters without regard to case.
    A field the API does not show is nothing everywhere, so that the next key decides.
    """

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(_Down(v) if o.descending else v for o in orders for v in [_value(row, o.field)])

    return key


def _value(row: Mapping[str, Any], field: str) -> tuple[Any, ...]:
    value: Any = row.get(field)
    if value is None and "." in field:
        outer, _, inner = field.partition(".")
        holder = row.get(outer)
        value = holder.get(inner) if isinstance(holder, Mapping) else None
    if value is None:
        return (0,)
    if isinstance(value, bool | int | float):
        return (1, value)
    text = value if isinstance(value, str) else repr(value)
    return (2, text.casefold(), text)


class _Down:
    """A value that compares the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: tuple[Any, ...]) -> None:
        self.value = value

    def __lt__(self, other: _Down) -> bool:
        return other.value < self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)
