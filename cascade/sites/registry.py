"""The sites as this process knows them: rows of the store, read again on demand, with their health beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from cascade.model.errors import Conflict, SiteUnreachable
from cascade.model.site import HUB, Site
from cascade.sites.health import Monitor
from cascade.sites.limits import Limits


class SiteRows(Protocol):
    """``store.sites``."""

    async def all(self) -> list[Site]: ...


class SiteStore(Protocol):
    """As much of the store as this module needs."""

    @property
    def sites(self) -> SiteRows: ...


ESSENTIAL = {"mapped": ("compute", "identity"), "shared": ("compute",)}
"""A shared site's Keystone is the hub's: its death is not the site's."""


class Sites:
    """Call ``reload`` once before use, and after every change of the rows."""

    def __init__(self, store: SiteStore, *, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._sites: dict[str, Site] = {}
        self._names: tuple[str, ...] = ()
        self._trials: dict[str, Site] = {}
        self.limits = limits or Limits()
        self.health = Monitor(self.limits, clock=clock)
        """By name; ``hub`` is in it too. Disabled sites are not probed and not in it."""
        self.health.watch(self._watched())

    async def reload(self) -> bool:
        """Read the rows again; says whether anything changed."""
        rows = {s.name: s for s in sorted(await self._store.sites.all(), key=lambda s: s.number)}
        changed = rows != self._sites
        self._sites, self._names = rows, tuple(s.name for s in rows.values() if s.enabled)
        self.health.watch(self._watched())
        return changed

    def names(self) -> list[str]:
        """Enabled sites, draining ones included, in the order of their numbers."""
        return list(self._names)

    def all(self) -> list[Site]:
        """Every row, disabled ones too, in the order of their numbers."""
        return list(self._sites.values())

    def get(self, name: str) -> Site:
        """The row of a site. Raises SiteUnreachable for one that is not (or no longer) there."""
        site = self._sites.get(name) or self._trials.get(name)
        if site is None:
            raise SiteUnreachable(name, "there is no such site")
        return site

    @contextmanager
    def trial(self, site: Site) -> Iterator[str]:
        """A site that is not in the store, to be asked before it joins: the target name it has while the block lasts.

        It is in no list, gets no traffic and no probes. Raises Conflict while another trial of that name is under way.
        """
        name = f"{site.name} (joining)"
        if name in self._trials:
            raise Conflict(f"site {site.name} is being examined already")
        self._trials[name] = replace(site, name=name)
        try:
            yield name
        finally:
            del self._trials[name]
            self.health.drop(name)

    def by_number(self, number: int) -> Site | None:
        """The site whose number an integer id carries."""
        return next((s for s in self._sites.values() if s.number == number), None)

    def usable(self, name: str) -> bool:
        """Known, enabled and not down. A site never probed yet is taken to be there."""
        site = self._sites.get(name)
        if site is None or not site.enabled:
            return False
        found = self.health.get(name)
        return found is None or found.state != "down"

    def _watched(self) -> dict[str, tuple[str, ...]]:
        out = {s.name: ESSENTIAL[s.identity] for s in self._sites.values() if s.enabled}
        out[HUB] = ("identity",)
        return out
