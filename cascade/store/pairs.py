"""Pairs: hub id and site id of one thing. Immutable, so a small memory stands in front; what a client names is always asked."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict
from cascade.store.schema import index as things
from cascade.store.schema import pairs as T
from cascade.store.session import Session
from cascade.store.settled import Settled

NONE_SECONDS = 5.0
"""How long it is believed that an id of a site has no pair: only of what the index has under that id, and of projects and users.
A server that was just made at its site can be seen there before its pair is written down."""
_IDENTITY = 32
"""Length of Keystone's ids; all others' are written with hyphens."""
_OWN = select(things.c.site, things.c.id).where(things.c.deleted.is_(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """``project_id`` (hub) may name it; None: everybody's."""

    kind: str
    hub_id: str
    site: str
    site_id: str
    project_id: str | None = None


class Pairs:
    """Queries over pairs."""

    def __init__(self, session: Session, settled: Settled | None = None, *, size: int = 100_000) -> None:
        self._s, self._settled, self._size = session, settled or Settled(), size
        self._hub: OrderedDict[tuple[str, str], Pair] = OrderedDict()
        self._site: OrderedDict[tuple[str, str], Pair] = OrderedDict()
        self._none: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def get(self, kind: str, hub_id: str, site: str) -> Pair | None:
        """One pair."""
        known = self._hub.get((site, hub_id))
        if known is not None and known.kind == kind:
            return known
        return self._first(await self._rows(and_(T.c.kind == kind, T.c.hub_id == hub_id, T.c.site == site)))

    async def by_site_id(self, site: str, site_id: str) -> Pair | None:
        """The pair of a site's id."""
        known = self._site.get((site, site_id))
        return known or self._first(await self._rows(and_(T.c.site == site, T.c.site_id == site_id)))

    async def at(self, kind: str, hub_id: str, site: str) -> str:
        """The id a zonal thing has at its site: its own, unless a pair says otherwise."""
        pair = await self.get(kind, hub_id, site)
        return hub_id if pair is None else pair.site_id

    async def put(self, pair: Pair) -> None:
        """Idempotent. Raises Conflict where either side is paired with something else already."""

        async def work(c: AsyncConnection) -> None:
            where = and_(T.c.kind == pair.kind, T.c.hub_id == pair.hub_id, T.c.site == pair.site)
            row = (await c.execute(select(T).where(where))).first()
            if row is None:
                await c.execute(T.insert().values(**_values(pair)))
            elif row.site_id != pair.site_id:
                raise Conflict(f"{pair.kind} {pair.hub_id} at {pair.site} is {row.site_id}, not {pair.site_id}")

        await self._s.write(work)
        self._remember(pair)

    async def put_many(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The same for many of one site in one transaction (rebuild). What either side of is paired otherwise is given back."""

        async def work(c: AsyncConnection) -> list[Pair]:
            spare: list[Pair] = []
            for at in range(0, len(pairs), 200):
                spare += await _add(c, pairs[at : at + 200])
            return spare

        spare = await self._s.write(work)
        for pair in pairs:
            if pair not in spare:
                self._remember(pair)
        return spare

    async def drop(self, kind: str, hub_id: str, site: str) -> None:
        """Forget a pair."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.kind == kind, T.c.hub_id == hub_id, T.c.site == site))

        await self._s.write(work)
        known = self._hub.pop((site, hub_id), None)
        if known is not None:
            self._site.pop((site, known.site_id), None)

    async def of_hub(self, kind: str, hub_id: str) -> list[Pair]:
        """Its copies in all sites."""
        return await self._rows(and_(T.c.kind == kind, T.c.hub_id == hub_id))

    async def copies(self, kind: str, hub_ids: Collection[str]) -> list[Pair]:
        """The copies of many things in all sites."""
        ids, out = list(hub_ids), []
        for at in range(0, len(ids), 500):
            out += await self._rows(and_(T.c.kind == kind, T.c.hub_id.in_(ids[at : at + 500])))
        return out

    async def to_site(self, site: str, ids: Collection[str]) -> dict[str, Pair]:
        """hub id -> pair, of those that have one at the site."""
        out = {i: pair for i in ids if (pair := self._hub.get((site, i))) is not None}
        unknown = [i for i in ids if i not in out and not self._settled.at(site, i)]
        for at in range(0, len(unknown), 500):
            for pair in await self._rows(and_(T.c.site == site, T.c.hub_id.in_(unknown[at : at + 500]))):
                out[pair.hub_id] = pair
                self._remember(pair)
        return out

    async def to_hub(self, site: str, ids: Collection[str]) -> dict[str, Pair]:
        """site id -> pair."""
        if self._due(site, ids):
            await self.read_ahead({site: ids})
        return self.read(site, ids)

    def read(self, site: str, ids: Collection[str]) -> dict[str, Pair]:
        """The same of what ``read_ahead`` has just been asked for."""
        known = self._site
        return {i: pair for i in ids if (pair := known.get((site, i))) is not None}

    async def read_ahead(self, ids: Mapping[str, Collection[str]]) -> None:
        """site -> its ids: read at once what ``to_hub`` will be asked site by site in a moment."""
        due = [(site, i) for site, some in ids.items() for i in self._due(site, some)]
        for at in range(0, len(due), 500):
            part = set(due[at : at + 500])

            async def work(c: AsyncConnection, part: set[tuple[str, str]] = part) -> tuple[list[Pair], set[tuple[str, str]]]:
                rows = await c.execute(select(T).where(T.c.site_id.in_({i for _, i in part})))
                found = [Pair(**r._mapping) for r in rows if (r.site, r.site_id) in part]
                paired = {(p.site, p.site_id) for p in found}
                rest = [i for s, i in part if (s, i) not in paired and len(i) != _IDENTITY]
                own = {(r.site, r.id) for r in await c.execute(_OWN.where(things.c.id.in_(rest)))} if rest else set()
                return found, own

            found, own = await self._s.read(work)
            for pair in found:
                self._remember(pair)
            until = time.monotonic() + NONE_SECONDS
            for key in part:
                if key not in self._site and (key in own or len(key[1]) == _IDENTITY):
                    self._none.pop(key, None)
                    self._none[key] = until
        while len(self._none) > self._size:
            self._none.popitem(last=False)

    def _due(self, site: str, ids: Collection[str]) -> list[str]:
        now = time.monotonic()
        return [
            i for i in ids
            if (site, i) not in self._site and self._none.get((site, i), 0.0) <= now and not self._settled.at(site, i)
        ]  # fmt: skip

    async def all(self, kind: str, site: str | None = None) -> list[Pair]:
        """Every pair of a kind."""
        where = T.c.kind == kind
        return await self._rows(where if site is None else and_(where, T.c.site == site))

    async def _rows(self, where: Any) -> list[Pair]:
        async def work(c: AsyncConnection) -> list[Pair]:
            return [Pair(**r._mapping) for r in await c.execute(select(T).where(where))]

        return await self._s.read(work)

    def _first(self, rows: list[Pair]) -> Pair | None:
        if rows:
            self._remember(rows[0])
        return rows[0] if rows else None

    def _remember(self, pair: Pair) -> None:
        self._settled.drop(pair.hub_id, pair.site_id)
        self._none.pop((pair.site, pair.site_id), None)
        self._hub[pair.site, pair.hub_id] = pair
        self._site[pair.site, pair.site_id] = pair
        for memory in (self._hub, self._site):
            while len(memory) > self._size:
                memory.popitem(last=False)


def _values(pair: Pair) -> dict[str, Any]:
    return {f: getattr(pair, f) for f in ("kind", "hub_id", "site", "site_id", "project_id")}


async def _add(c: AsyncConnection, pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of one site that are not there yet; returns those that cannot be."""
    either = or_(T.c.hub_id.in_([p.hub_id for p in pairs]), T.c.site_id.in_([p.site_id for p in pairs]))
    hub: dict[tuple[str, str], str] = {}
    site: dict[tuple[str, str], str] = {}
    for row in await c.execute(select(T.c.kind, T.c.hub_id, T.c.site_id).where(T.c.site == pairs[0].site, either)):
        hub[row.kind, row.hub_id], site[row.kind, row.site_id] = row.site_id, row.hub_id
    new: list[dict[str, Any]] = []
    spare: list[Pair] = []
    for p in pairs:
        there = hub.get((p.kind, p.hub_id)), site.get((p.kind, p.site_id))
        if there == (None, None):
            hub[p.kind, p.hub_id], site[p.kind, p.site_id] = p.site_id, p.hub_id
            new.append(_values(p))
        elif there != (p.site_id, p.hub_id):
            spare.append(p)
    if new:
        await c.execute(T.insert(), new)
    return spare
