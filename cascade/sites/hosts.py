"""How many compute hosts of a site take servers: asked where nobody named a site, never where somebody did."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable

from cascade.model.errors import SiteError
from cascade.sites.south import South

BELIEVED = 15.0
"""Seconds an answer is believed: it decides where a project's first thing goes, and Nova there judges again."""


class Hosts:
    """Counted with one question per site and ``BELIEVED`` seconds, however many ask at once."""

    def __init__(self, south: South, clock: Callable[[], float] = time.monotonic) -> None:
        self._south, self._clock = south, clock
        self._known: dict[str, tuple[float, int | None]] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ready(self, site: str) -> int | None:
        """Enabled and up; None where the site does not say in time, very many where our account may not look."""
        async with self._asking[site]:
            asked, ready = self._known.get(site, (0.0, None))
            if site not in self._known or self._clock() - asked >= BELIEVED:
                ready = await self._ask(site)
                self._known[site] = self._clock(), ready
            return ready

    def forget(self) -> None:
        """Somebody has just enabled or disabled a host through us."""
        self._known.clear()

    async def _ask(self, site: str) -> int | None:
        try:
            reply = await self._south.call(site, "compute", "GET", "/os-services", params=[("binary", "nova-compute")], timeout=5)
            if not reply.ok:
                return sys.maxsize if reply.status == 403 else None  # Nova there decides
            rows: list[dict[str, str]] = reply.json()["services"]
        except SiteError:
            return None
        return sum(r["status"] == "enabled" and r["state"] == "up" for r in rows)
