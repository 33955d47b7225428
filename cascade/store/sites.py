"""Rows of the sites table. A site's number is given once and never to another, since integer ids carry it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict
from cascade.model.ids import SITE_BITS
from cascade.model.site import HUB, Site
from cascade.store.schema import sites as T
from cascade.store.session import Session


class SiteRows:
    """Queries over sites."""

    def __init__(self, session: Session) -> None:
        self._s = session

    async def all(self) -> list[Site]:
        """Every row that was not removed."""

        async def work(c: AsyncConnection) -> list[Site]:
            return [_site(r) for r in await c.execute(select(T).where(T.c.removed.is_(None)).order_by(T.c.number))]

        return await self._s.read(work)

    async def get(self, name: str) -> Site | None:
        """One row."""
        return next((s for s in await self.all() if s.name == name), None)

    async def add(self, site: Site) -> Site:
        """The row with its number. Raises Conflict for a name in use. A removed site's name gets its old number again."""
        if site.name == HUB:
            raise Conflict("no site may be called hub")

        async def work(c: AsyncConnection) -> Site:
            old = (await c.execute(select(T).where(T.c.name == site.name))).first()
            if old is not None and old.removed is None:
                raise Conflict(f"site {site.name} exists")
            if old is not None:
                new = replace(site, number=old.number)
                await c.execute(update(T).where(T.c.name == site.name).values(**_values(new), removed=None))
                return new
            number = int((await c.execute(select(func.coalesce(func.max(T.c.number), 0)))).scalar() or 0) + 1
            if number >= 1 << SITE_BITS:
                raise Conflict("no site number is left")
            new = replace(site, number=number)
            await c.execute(T.insert().values(**_values(new), removed=None))
            return new

        return await self._s.write(work)

    async def update(self, name: str, **changes: Any) -> Site:
        """Change fields. Raises Conflict if it is not there."""
        site = await self.get(name)
        if site is None:
            raise Conflict(f"there is no site {name}")
        new = replace(site, **changes)

        async def work(c: AsyncConnection) -> None:
            await c.execute(update(T).where(T.c.name == name).values(**_values(new)))

        await self._s.write(work)
        return new

    async def remove(self, name: str) -> None:
        """Keep the number, forget the rest."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(update(T).where(T.c.name == name).values(removed=time.time()))

        await self._s.write(work)


def _site(r: Any) -> Site:
    return Site(
        name=r.name, number=r.number, cloud=r.cloud, identity=r.identity, enabled=bool(r.enabled), draining=bool(r.draining),
        zones=r.zones, options=r.options,
    )  # fmt: skip


def _values(s: Site) -> dict[str, Any]:
    return {"name": s.name, "number": s.number, "cloud": s.cloud, "identity": s.identity, "enabled": int(s.enabled),
            "draining": int(s.draining), "zones": dict(s.zones), "options": dict(s.options)}  # fmt: skip
