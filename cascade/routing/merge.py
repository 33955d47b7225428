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
_INVERTED = bytes(max(0, 254 - c) for c in range(256))


@dataclass(frozen=True, slots=True)
class Merged(Generic[R]):
    """One page. ``rows`` with the site each came from; ``taken`` rows of each site; ``more``: some are left."""

    rows: list[tuple[str, R]]
    taken: dict[str, int]
    more: bool
    starved: frozenset[str]
    """Open sites that ran out before the page was full: nothing may follow until the next rows of one of them are here, and
    those of the others will most likely be asked for next."""


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
    more, full = bool(heads) or bool(starved), len(rows) >= limit
    if starved and not full:
        starved |= _dry(heads, streams, dict(taken), limit - len(rows), key, open)
    return Merged(rows, taken, more=more, starved=frozenset() if full else starved)


def _dry(
    heads: list[tuple[Any, str]], streams: Mapping[str, Sequence[R]], taken: dict[str, int], count: int, key: Callable[[R], Any],
    open: Collection[str],
) -> set[str]:  # fmt: skip
    """Which other sites would run out of rows among the next ``count``: they are read at once, not one after another."""
    dry = set()
    while heads and count:
        _, site = heads[0]
        taken[site] = at = taken[site] + 1
        count -= 1
        if at < len(streams[site]):
            heapq.heapreplace(heads, (key(streams[site][at]), site))
        else:
            heapq.heappop(heads)
            if site in open:
                dry.add(site)
    return dry


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
        return tuple([_down(_value(row, o.field)) if o.descending else _value(row, o.field) for o in orders])

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


def _down(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """What compares the other way round. Plain values: C compares them, and a list compares each of its rows ten times."""
    if value[0] == 0:
        return value
    if value[0] == 1:
        return -1, -value[1]
    return -2, _backwards(value[1]), _backwards(value[2])


def _backwards(text: str) -> bytes:
    # UTF-8 sorts as the letters do, and has no byte 0xff: put behind, it makes what begins with another come before that.
    return text.encode(errors="surrogatepass").translate(_INVERTED) + b"\xff"
