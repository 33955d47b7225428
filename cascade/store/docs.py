"""Small facts that must survive a restart: key -> JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.store.schema import docs as T
from cascade.store.session import Session


class Docs:
    """Keys are paths: ``discovery/paris``, ``home/<project>``."""

    def __init__(self, session: Session) -> None:
        self._s = session

    async def get(self, key: str) -> Any:
        """The document, or None."""

        async def work(c: AsyncConnection) -> Any:
            return (await c.execute(select(T.c.doc).where(T.c.key == key))).scalar()

        return await self._s.read(work)

    async def put(self, key: str, doc: Any) -> None:
        """Replace."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.key == key))
            await c.execute(T.insert().values(key=key, doc=doc))

        await self._s.write(work)

    async def drop(self, key: str) -> None:
        """Forget."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.key == key))

        await self._s.write(work)
