"""The index: where every zonal thing is, with immutable facts only."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.store.schema import index as T
from cascade.store.schema import intents, pairs
from cascade.store.schema import presence as P
from cascade.store.session import Session
from cascade.store.settled import Settled

_TOLD = 20_000
# Said once, since a statement costs more to build than to run.
_LIVE = select(T).where(T.c.kind == bindparam("kind"), T.c.id == bindparam("id"), T.c.deleted.is_(None))
_OPEN = select(intents.c.id).where(intents.c.id == bindparam("id"))
_PAIRED = select(pairs.c.site_id).where(
    pairs.c.site == bindparam("site"), or_(pairs.c.hub_id == bindparam("id"), pairs.c.site_id == bindparam("id"))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEntry:
    """One thing. Times are Unix seconds; ``created`` is the site's own once it was seen."""

    kind: str
    id: str
    site: str
    project_id: str
    user_id: str
    created: float | None
    deleted: float | None = None


class Index:
    """Queries over things. Presence counts are kept in the same transaction, so that "where has this project
    anything?" costs one small read however many things there are."""

    def __init__(self, session: Session, settled: Settled | None = None) -> None:
        self._s, self._settled = session, settled or Settled()
        self._told: dict[tuple[str, str], float] = {}
        """Times of creation that rows are known to have."""

    async def add(self, kind: str, id: str, *, site: str, project_id: str, user_id: str, created: float | None = None) -> None:
        """Idempotent."""
        await self.add_many([IndexEntry(kind=kind, id=id, site=site, project_id=project_id, user_id=user_id, created=created)])

    async def add_many(self, entries: Sequence[IndexEntry]) -> int:
        """Add what is not there yet; returns how many were new. A tombstone is not revived."""

        async def work(c: AsyncConnection) -> int:
            new = 0
            for at in range(0, len(entries), 200):
                new += await add(c, entries[at : at + 200])
            return new

        return await self._s.write(work)

    async def get(self, kind: str, id: str, deleted: bool = False) -> IndexEntry | None:
        """The live row, or with ``deleted`` a tombstone too."""
        where = and_(T.c.kind == kind, T.c.id == id)
        rows = await self._rows(select(T).where(where if deleted else and_(where, T.c.deleted.is_(None))))
        return rows[0] if rows else None

    async def shown(self, kind: str, id: str) -> IndexEntry | None:
        """The live row, for a read: it may be out of date by seconds in what its site knows better. See ``settled``."""
        known = self._settled.get(kind, id)
        if known is not None:
            return known

        async def work(c: AsyncConnection) -> tuple[IndexEntry | None, bool]:
            row = (await c.execute(_LIVE, {"kind": kind, "id": id})).first()
            if row is None:
                return None, False
            entry = IndexEntry(**row._mapping)
            creating = (await c.execute(_OPEN, {"id": id.replace("-", "")})).first()
            paired = (await c.execute(_PAIRED, {"site": entry.site, "id": id})).first()
            return entry, creating is None and paired is None

        entry, settled = await self._s.read(work)
        if entry is not None and settled:
            self._settled.put(entry)
        return entry

    def settled(self, kind: str, id: str) -> bool:
        """Whether ``shown`` has lately found the thing at its site with nothing of its create left to do."""
        return self._settled.get(kind, id) is not None

    async def unknown(self, kind: str, ids: Collection[str]) -> set[str]:
        """Those of ``ids`` that have neither a row nor a tombstone."""
        return set(ids) - (await self._times(kind, list(ids))).keys() if ids else set()

    async def among(self, kind: str, ids: Sequence[str], site: str) -> list[IndexEntry]:
        """The live rows of ``ids`` that are at ``site``."""
        found: list[IndexEntry] = []
        for at in range(0, len(ids), 200):
            rows = await self._rows(select(T).where(T.c.id.in_(ids[at : at + 200])))
            found += [r for r in rows if (r.kind, r.site, r.deleted) == (kind, site, None)]
        return found

    async def _times(self, kind: str, ids: Sequence[str]) -> dict[str, float | None]:
        """id -> time of creation, of the rows and tombstones there are.

        Asked by id alone: with the kind beside it SQLite reads an index that begins with the kind, from end to end.
        """

        async def work(c: AsyncConnection) -> dict[str, float | None]:
            found: dict[str, float | None] = {}
            for at in range(0, len(ids), 500):
                rows = await c.execute(select(T.c.kind, T.c.id, T.c.created).where(T.c.id.in_(ids[at : at + 500])))
                found |= {r.id: r.created for r in rows if r.kind == kind}
            return found

        return await self._s.read(work)

    async def between(self, kind: str, site: str, oldest: float | None, newest: float | None, limit: int) -> list[IndexEntry]:
        """Live rows made from ``oldest`` to ``newest``, both included; None: without an end."""
        q = select(T).where(T.c.kind == kind, T.c.site == site, T.c.deleted.is_(None), T.c.created.is_not(None))
        if oldest is not None:
            q = q.where(T.c.created >= oldest)
        if newest is not None:
            q = q.where(T.c.created <= newest)
        return await self._rows(q.order_by(T.c.created.desc(), T.c.id).limit(limit))

    async def find(self, id: str) -> IndexEntry | None:
        """A live row of any kind."""
        rows = await self._rows(select(T).where(T.c.id == id, T.c.deleted.is_(None)).limit(1))
        return rows[0] if rows else None

    async def sites_of(self, kind: str | None, project_id: str | None, *, ever: bool = False) -> set[str]:
        """Sites where the project (None: any) has something (of a kind; None: of any), or ``ever`` had."""
        q = select(P.c.site).distinct()
        if not ever:
            q = q.where(P.c.n > 0)
        if kind is not None:
            q = q.where(P.c.kind == kind)
        if project_id is not None:
            q = q.where(P.c.project_id == project_id)

        async def work(c: AsyncConnection) -> set[str]:
            return {r[0] for r in await c.execute(q)}

        return await self._s.read(work)

    async def home_of(self, project_id: str) -> str | None:
        """The site where the project has had things longest."""
        q = select(P.c.site).where(P.c.project_id == project_id, P.c.n > 0).order_by(P.c.since, P.c.site).limit(1)

        async def work(c: AsyncConnection) -> str | None:
            return (await c.execute(q)).scalar()

        return await self._s.read(work)

    async def tombstone(self, kind: str, id: str) -> None:
        """Gone; remembered for markers and against resurrection."""

        async def work(c: AsyncConnection) -> None:
            row = (await c.execute(select(T).where(T.c.kind == kind, T.c.id == id, T.c.deleted.is_(None)))).first()
            if row is None:
                return
            await c.execute(update(T).where(T.c.kind == kind, T.c.id == id).values(deleted=time.time()))
            await _count(c, row.project_id, kind, row.site, -1)

        await self._s.write(work)
        self._settled.drop(id)

    async def move(self, kind: str, id: str, *, project_id: str, user_id: str) -> None:
        """A thing that was given to another project."""

        async def work(c: AsyncConnection) -> None:
            row = (await c.execute(select(T).where(T.c.kind == kind, T.c.id == id, T.c.deleted.is_(None)))).first()
            if row is None or row.project_id == project_id:
                return
            await c.execute(update(T).where(T.c.kind == kind, T.c.id == id).values(project_id=project_id, user_id=user_id))
            for owner, n in sorted(((row.project_id, -1), (project_id, 1))):
                await _count(c, owner, kind, row.site, n)

        await self._s.write(work)
        self._settled.drop(id)

    async def set_created(self, kind: str, created: Mapping[str, float]) -> None:
        """The sites' own times, as seen in their answers; rows that have them already are not written."""
        told = self._told
        new = {k: v for k, v in created.items() if told.get((kind, k)) != v}
        if not new:
            return
        have = await self._times(kind, list(new))
        wrong = {k: v for k, v in new.items() if k in have and have[k] != v}
        if len(told) > _TOLD:
            told.clear()
        told.update({(kind, k): new[k] for k in have if k not in wrong})
        if not wrong:
            return

        async def work(c: AsyncConnection) -> None:
            for ident, when in wrong.items():
                await c.execute(update(T).where(T.c.kind == kind, T.c.id == ident).values(created=when))

        await self._s.write(work)

    async def page(
        self, kind: str, site: str, project_id: str | None, *, before: tuple[float, str] | None = None, limit: int
    ) -> list[IndexEntry]:
        """Newest first, equal times by id; ``before``: strictly after that position."""
        q = select(T).where(T.c.kind == kind, T.c.site == site, T.c.deleted.is_(None))
        if project_id is not None:
            q = q.where(T.c.project_id == project_id)
        if before is not None:
            q = q.where(or_(T.c.created < before[0], and_(T.c.created == before[0], T.c.id > before[1])))
        return await self._rows(q.order_by(T.c.created.desc(), T.c.id).limit(limit))

    async def preceding(
        self, kind: str, site: str, project_id: str | None, created: float, id: str, tie: str = "asc"
    ) -> IndexEntry | None:
        """The last row of ``site`` at or before a list position (newest first, ties by id ``tie``)."""
        up = tie == "asc"
        earlier = T.c.id <= id if up else T.c.id >= id
        q = select(T).where(
            T.c.kind == kind,
            T.c.site == site,
            T.c.deleted.is_(None),
            or_(T.c.created > created, and_(T.c.created == created, earlier)),
        )
        if project_id is not None:
            q = q.where(T.c.project_id == project_id)
        rows = await self._rows(q.order_by(T.c.created, T.c.id.desc() if up else T.c.id).limit(1))
        return rows[0] if rows else None

    async def count(self, kind: str, site: str | None = None) -> int:
        """How many live things of a kind."""
        q = select(func.coalesce(func.sum(P.c.n), 0)).where(P.c.kind == kind)
        if site is not None:
            q = q.where(P.c.site == site)

        async def work(c: AsyncConnection) -> int:
            return int((await c.execute(q)).scalar() or 0)

        return await self._s.read(work)

    async def _rows(self, q: Any) -> list[IndexEntry]:
        async def work(c: AsyncConnection) -> list[IndexEntry]:
            return [IndexEntry(**r._mapping) for r in await c.execute(q)]

        return await self._s.read(work)


async def add(c: AsyncConnection, entries: Sequence[IndexEntry]) -> int:
    """Within somebody's transaction; returns how many were new."""
    ids = [e.id for e in entries]
    have = {(r.kind, r.id) for r in await c.execute(select(T.c.kind, T.c.id).where(T.c.id.in_(ids)))}
    fresh = list({(e.kind, e.id): e for e in entries if (e.kind, e.id) not in have}.values())
    if not fresh:
        return 0
    rows = [{f: getattr(e, f) for f in ("kind", "id", "site", "project_id", "user_id", "created", "deleted")} for e in fresh]
    await c.execute(T.insert(), rows)
    totals: dict[tuple[str, str, str], int] = {}
    for e in fresh:
        totals[e.project_id, e.kind, e.site] = totals.get((e.project_id, e.kind, e.site), 0) + 1
    for (project, kind, site), n in sorted(totals.items()):
        await _count(c, project, kind, site, n)
    return len(fresh)


async def _count(c: AsyncConnection, project: str, kind: str, site: str, n: int) -> None:
    where = and_(P.c.project_id == project, P.c.kind == kind, P.c.site == site)
    done = await c.execute(update(P).where(where).values(n=P.c.n + n))
    if done.rowcount == 0 and n > 0:
        await c.execute(P.insert().values(project_id=project, kind=kind, site=site, n=n, since=time.time()))
