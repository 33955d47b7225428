"""Pairs: hub id and site id of one thing. Immutable, so a small memory stands in front; what is not known is always asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict
from cascade.store.schema import pairs as T
from cascade.store.session import Session


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

    def __init__(self, session: Session, *, size: int = 100_000) -> None:
        self._s, self._size = session, size
        self._hub: OrderedDict[tuple[str, str], Pair] = OrderedDict()
        self._site: OrderedDict[tuple[str, str], Pair] = OrderedDict()

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
        return await self._many(site, ids, self._hub, T.c.hub_id, "hub_id")

    async def to_hub(self, site: str, ids: Collection[str]) -> dict[str, Pair]:
        """site id -> pair."""
        return await self._many(site, ids, self._site, T.c.site_id, "site_id")

    async def all(self, kind: str, site: str | None = None) -> list[Pair]:
        """Every pair of a kind."""
        where = T.c.kind == kind
        return await self._rows(where if site is None else and_(where, T.c.site == site))

    async def _many(
        self, site: str, ids: Collection[str], memory: OrderedDict[tuple[str, str], Pair], column: Any, side: str
    ) -> dict[str, Pair]:
        out, unknown = {}, []
        for ident in ids:
            known = memory.get((site, ident))
            if known is not None:
                out[ident] = known
            else:
                unknown.append(ident)
        for at in range(0, len(unknown), 500):
            for pair in await self._rows(and_(T.c.site == site, column.in_(unknown[at : at + 500]))):
                out[getattr(pair, side)] = pair
                self._remember(pair)
        return out

    async def _rows(self, where: Any) -> list[Pair]:
        async def work(c: AsyncConnection) -> list[Pair]:
            return [Pair(**r._mapping) for r in await c.execute(select(T).where(where))]

        return await self._s.read(work)

    def _first(self, rows: list[Pair]) -> Pair | None:
        if rows:
            self._remember(rows[0])
        return rows[0] if rows else None

    def _remember(self, pair: Pair) -> None:
        self._hub[pair.site, pair.hub_id] = pair
        self._site[pair.site, pair.site_id] = pair
        for memory in (self._hub, self._site):
            while len(memory) > self._size:
                memory.popitem(last=False)


def _values(pair: Pair) -> dict[str, Any]:
    return {f: getattr(pair, f) for f in ("kind", "hub_id", "site", "site_id", "project_id")}
