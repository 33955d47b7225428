"""What went at a site without us: found, and with it its room in the ledger, its addresses, its row in the lists.

Nova tells for the asking what was deleted since a moment, and this is asked at every look. For what that misses (a site was
away for longer than its operator keeps deleted rows) and for what no service tells, the site's lists are walked, a page at
a look, and held against the index. Neither is believed: the service account's own look at the thing decides (``Watch.missing``).
Where much went at once, and where a site was away for long, look follows look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from cascade.model.errors import CascadeError
from cascade.reconcile.watch import SKEW
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.index import IndexEntry

log = structlog.get_logger(__name__)

PAGE = 1000
SUSPECTS = 100
"""Things looked at one by one in a look; a site that lost more is put right in several."""
AGAIN = 1.0
"""Seconds from one look to the next where one is not enough."""
FIRST_LOOK = 86400.0
"""Seconds the first look of a process goes back."""
_TICK = 0.5


@dataclass(frozen=True, slots=True)
class Walk:
    """A kind of things and the site's list of them, newest first. Plain: only ids are read."""

    kind: str
    service: str
    path: str

    @property
    def rows(self) -> str:
        """The JSON key of the list."""
        return self.path[1:]


WALKS = (
    Walk("server", "compute", "/servers"), Walk("volume", "volume", "/volumes"), Walk("snapshot", "volume", "/snapshots"),
    Walk("backup", "volume", "/backups"),
)  # fmt: skip


@dataclass(slots=True)
class _Site:
    """How far this process has looked."""

    since: float
    due: float
    walk: int = 0
    marker: str | None = None
    edge: IndexEntry | None = None
    """The last thing of ours on the pages before; None at the beginning of a list."""
    task: asyncio.Task[None] | None = None
    away: float | None = None
    """Since when it is down."""
    whole: bool = False
    """Whether all lists are to be walked without a pause, since it was away."""


class Audit:
    """``run`` works until cancelled. Of several processes one looks at a site in each interval: whoever comes first."""

    def __init__(
        self, store: Store, south: South, sites: Sites, missing: Callable[[IndexEntry], Awaitable[None]], *, interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._south, self._sites, self._missing = store, south, sites, missing
        self._interval, self._clock = interval, clock
        self._at: dict[str, _Site] = {}
        sites.health.on_down.append(self._left)
        sites.health.on_up.append(self._returned)

    async def run(self) -> None:
        """Start the looks that are due, each for itself: a site that hangs keeps no other waiting."""
        try:
            while True:
                names = self._sites.names()
                for site in set(self._at) - set(names):
                    del self._at[site]
                for n, site in enumerate(names):
                    self._start(site, n / len(names))
                await asyncio.sleep(min(_TICK, self._interval))
        finally:
            for state in self._at.values():
                if state.task is not None:
                    state.task.cancel()

    def _start(self, site: str, share: float) -> None:
        now = self._clock()
        # The first looks are spread over an interval: a hundred sites are not asked at one moment.
        state = self._at.setdefault(site, _Site(since=now - FIRST_LOOK, due=now + self._interval * share))
        if now < state.due or not self._sites.usable(site) or (state.task is not None and not state.task.done()):
            return
        state.due = now + self._interval
        state.task = asyncio.create_task(self._guarded(site), name=f"audit {site}")

    def _left(self, target: str) -> None:
        if (state := self._at.get(target)) is not None and state.away is None:
            state.away = self._clock()

    def _returned(self, target: str) -> None:
        """A site that was away for longer than it is left unlooked at anyway may have lost anything meanwhile."""
        state = self._at.get(target)
        if state is None or state.away is None:
            return
        if self._clock() - state.away >= self._interval:
            state.walk, state.marker, state.edge, state.whole, state.due = 0, None, None, True, self._clock()
        state.away = None

    async def _guarded(self, site: str) -> None:
        try:
            key, ttl = f"audit/{site}", self._interval * 0.9
            epoch = await self._store.leases.acquire(key, self._store.owner, ttl)
            while epoch is not None and await self.look(site):
                await asyncio.sleep(AGAIN)
                if not await self._store.leases.renew(key, epoch, ttl):
                    return  # it took too long, and another process looks now
        except CascadeError as e:
            log.info("what went at a site is looked for later", site=site, error=str(e))

    async def look(self, site: str) -> bool:
        """What Nova says was deleted, and one page of one list. True: look again. Raises SiteError, StoreError."""
        state = self._at.setdefault(site, _Site(since=self._clock() - FIRST_LOOK, due=0.0))
        asked = self._clock()
        told = await self._settle(await self._deleted(site, state.since))
        if not told:
            state.since = asked
        place = state.walk, state.marker, state.edge
        found = await self._settle(await self._page(site, state))
        if found:
            state.walk, state.marker, state.edge = place
        elif place[0] and not state.walk:
            state.whole = False  # that was the last page of the last list
        return told or found or state.whole

    async def _settle(self, suspects: Collection[IndexEntry]) -> bool:
        """Ask after them; whether there may be more. If none had gone the same would be asked for ever: then there are not."""
        some = list(suspects)[:SUSPECTS]
        for entry in some:
            if not await self._store.intents.by_resource(entry.id):  # else somebody is at work on it
                await self._missing(entry)
        if len(some) < SUSPECTS:
            return False
        left = await self._store.index.among(some[0].kind, [e.id for e in some], some[0].site)
        return len(left) < len(some)

    async def _deleted(self, site: str, since: float) -> list[IndexEntry]:
        stamp = datetime.fromtimestamp(since - SKEW, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        params = [("all_tenants", "1"), ("deleted", "True"), ("changes-since", stamp), ("limit", str(PAGE))]
        reply = await self._south.call(site, "compute", "GET", "/servers", params=params, version="2.52")
        there = [r["id"] for r in reply.expect(200).json()["servers"]]
        return await self._store.index.among("server", await self._north(site, there), site)

    async def _page(self, site: str, state: _Site) -> list[IndexEntry]:
        """The index's things that should be on the next page of a list, and are not."""
        walk = WALKS[state.walk]
        params = [("all_tenants", "1"), ("limit", str(PAGE)), *([("marker", state.marker)] if state.marker else [])]
        reply = await self._south.call(site, walk.service, "GET", walk.path, params=params)
        if state.marker and reply.status in (400, 404):  # the marker went: from the beginning at the next look
            state.marker = state.edge = None
            return []
        doc = reply.expect(200).json()
        there = [r["id"] for r in doc[walk.rows]]
        north = await self._north(site, there)
        known = {e.id: e for e in await self._store.index.among(walk.kind, north, site)}
        last = next((e for i in reversed(north) if (e := known.get(i)) is not None and e.created is not None), None)
        begin, end = state.edge, last
        if any(link["rel"] == "next" for link in doc.get(f"{walk.rows}_links", ())):  # a site's own limit may be lower than ours
            state.marker, state.edge = there[-1], last or begin
            if last is None:  # the site's own: what is missing lies before the next that is ours
                return []
        else:
            state.walk, state.marker, state.edge, end = (state.walk + 1) % len(WALKS), None, None, None
        oldest, newest = (None if e is None else e.created for e in (end, begin))
        found = await self._store.index.between(walk.kind, site, oldest, newest, len(known) + SUSPECTS)
        return [e for e in found if e.id not in known and (begin is None or e.id != begin.id)]

    async def _north(self, site: str, ids: list[str]) -> list[str]:
        pairs = await self._store.pairs.to_hub(site, ids) if ids else {}
        return [pairs[i].hub_id if i in pairs else i for i in ids]
