"""What a resource kind is, as data. One file of ``cascade.tables`` per service holds the rows.

A row says where requests of a path go; handlers are few and general. The first row whose pattern matches wins;
a path no row matches is *hub* (the hub's real service gives the real answer, 404 included).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Kind(Enum):
    """The closed list of routings."""

    HUB = "hub"
    """The hub's own service answers, with the caller's token."""
    ZONAL = "zonal"
    """One thing that lives in one site: ``{id}`` of the pattern names it; forwarded there untouched but for ids."""
    ZONAL_LIST = "zonal list"
    """Merged from the sites where the project has something."""
    ZONAL_CREATE = "zonal create"
    """Makes a thing: the site is chosen, intent and quota are written first."""
    AGGREGATE = "aggregate"
    """Computed over all sites (sums, concatenations)."""
    REPLICATED = "replicated"
    """The hub answers; after a successful write the copies in the sites are reconciled."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource path. ``pattern`` is relative to the service's version root, ``{x}`` matches one segment, ``{x:*}`` the rest."""

    pattern: str
    kind: Kind
    resource: str = ""
    """The index kind of ``{id}``: server, volume, snapshot, image, network..."""
    methods: frozenset[str] = frozenset()
    """Empty = every method."""
    collection: str = ""
    """The JSON key of a list: ``servers``."""
    ties: tuple[str, ...] = ()
    """Sort of the list: ``created_at:desc``, ``id:asc``."""
    handler: str = ""
    """Name of an intercept in ``cascade.api`` that knows more than the kind says."""
    raw: bool = False
    """The body is the user's (console output, image data): no id in it is rewritten."""
    veto: bool = False
    """Deletes ask the sites first (R7.1)."""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern compiled."""
        out = re.sub(r"\{(\w+):\*\}", r"(?P<\1>.*)", self.pattern)
        out = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", out)
        return re.compile(out)

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The path's named segments, or None."""
        if self.methods and method not in self.methods:
            return None
        m = self.regex.fullmatch(path)
        return m.groupdict() if m else None


def find(rows: tuple[Row, ...], method: str, path: str) -> tuple[Row, dict[str, str]] | None:
    """The first row that matches."""
    for row in rows:
        found = row.match(method, path)
        if found is not None:
            return row, found
    return None
