"""Remembered positions: where each site's list stood when a page ended. Pure but for the clock it is given.

A north marker is one row's id; the other sites' positions cannot be read from it, because a site's list need not be sorted
(design review 4.2). A lost entry costs nothing but accuracy: positions are then found by the marker row's sort values.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

PAGING = frozenset({"limit", "marker", "offset", "page_size"})
Positions = Mapping[str, str | None]
"""Site -> the site's own id of the last row taken from it; None: nothing yet."""


def scope(project: str | None, path: str, params: Iterable[tuple[str, str]]) -> str:
    """What a walk is about: whose things (None: all projects), which list, which filters and order."""
    rest = sorted((k, v) for k, v in params if k not in PAGING)
    return hashlib.sha256(json.dumps([project, path, rest]).encode()).hexdigest()


class Cursors:
    """A bounded memory; the oldest goes first. ``ttl`` in seconds; ``size`` counts positions, not walks."""

    def __init__(self, *, ttl: float = 900.0, size: int = 200_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl, self._size, self._clock = ttl, size, clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, dict[str, str | None]]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._kept)

    def remember(self, scope: str, marker: str, positions: Positions) -> None:
        """The positions right after the row ``marker`` (north id)."""
        self._drop((scope, marker))
        self._kept[scope, marker] = (self._clock() + self._ttl, dict(positions))
        self._weight += 1 + len(positions)
        while self._kept and (self._weight > self._size or next(iter(self._kept.values()))[0] <= self._clock()):
            self._drop(next(iter(self._kept)))

    def recall(self, scope: str, marker: str) -> dict[str, str | None] | None:
        """The positions, or None where they were never known or have gone."""
        kept = self._kept.get((scope, marker))
        if kept is None:
            return None
        if kept[0] <= self._clock():
            self._drop((scope, marker))
            return None
        return dict(kept[1])

    def _drop(self, key: tuple[str, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._weight -= 1 + len(kept[1])
