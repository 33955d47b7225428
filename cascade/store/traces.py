"""What requests did, for operators to look up; forgotten after days, and before that where there are too many rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.store.schema import traces as T
from cascade.store.session import Session
from cascade.tracing import Row

MOST = 1_000_000
"""Rows kept; some 200 MB with their indexes."""
SHOWN = 1000
_FIELDS = [c for c in T.c if c.name != "number"]


class Traces:
    """Rows of requests and their calls."""

    def __init__(self, session: Session) -> None:
        self._s = session

    async def add(self, rows: Sequence[Row]) -> None:
        """Write rows. Raises StoreError."""
        values = [asdict(r) for r in rows]

        async def work(c: AsyncConnection) -> None:
            await c.execute(T.insert(), values)

        await self._s.write(work)

    async def of(self, request_id: str) -> list[Row]:
        """The first rows of a request, by the id in its answer or the one its client gave, in the order in which they began."""

        async def work(c: AsyncConnection) -> list[Row]:
            named = select(T.c.request_id).where(or_(T.c.request_id == request_id, T.c.remote_id == request_id), T.c.target == "")
            ids = {r[0] for r in await c.execute(named)} | {request_id}
            rows = await c.execute(select(*_FIELDS).where(T.c.request_id.in_(ids)).order_by(T.c.at, T.c.number).limit(SHOWN))
            return [Row(**r._mapping) for r in rows]

        return await self._s.read(work)

    async def forget(self, days: float) -> None:
        """Drop what is older than so many days, and the oldest beyond ``MOST``."""

        async def work(c: AsyncConnection) -> None:
            last = (await c.execute(select(func.max(T.c.number)))).scalar() or 0
            await c.execute(delete(T).where(or_(T.c.at < time.time() - days * 86400, T.c.number <= last - MOST)))

        await self._s.write(work)
