"""Things that are where they are: at one site, under one id north and south, with no create of theirs still open.

A show of such a thing needs nothing of the database a second time. What could go out of date by another process' doing
(it was deleted, it was given to another project) its site knows and says; so only reads may use this, and not for long.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade.store.index import IndexEntry

SECONDS = 60.0
"""How long one is believed in."""
SIZE = 20_000


class Settled:
    """A bounded memory by id; the longest known go first."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, size: int = SIZE) -> None:
        self._clock, self._size = clock, size
        self._known: OrderedDict[str, tuple[float, IndexEntry]] = OrderedDict()

    def get(self, kind: str, id: str) -> IndexEntry | None:
        """The row of a settled thing; None where the database has to be asked."""
        until, entry = self._known.get(id, (0.0, None))
        return entry if entry is not None and entry.kind == kind and until > self._clock() else None

    def at(self, site: str, id: str) -> bool:
        """Whether an id is that of a settled thing of the site: there is no pair for it."""
        until, entry = self._known.get(id, (0.0, None))
        return entry is not None and entry.site == site and until > self._clock()

    def put(self, entry: IndexEntry) -> None:
        """To be called with what one transaction has shown to be settled."""
        self._known.pop(entry.id, None)
        self._known[entry.id] = (self._clock() + SECONDS, entry)
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def drop(self, *ids: str) -> None:
        """What this process does to a thing it knows at once."""
        for ident in ids:
            self._known.pop(ident, None)
