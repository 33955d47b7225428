"""Leases: one worker per key over any number of processes; the epoch fences off a former holder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict, Fault
from cascade.store.schema import leases as T
from cascade.store.session import Session


class Leases:
    """Times in seconds."""

    def __init__(self, session: Session) -> None:
        self._s = session
        self._here: dict[str, asyncio.Lock] = {}

    async def acquire(self, key: str, owner: str, ttl: float) -> int | None:
        """The epoch, or None while somebody else holds it."""
        now = time.time()

        async def work(c: AsyncConnection) -> int | None:
            row = (await c.execute(select(T).where(T.c.key == key).with_for_update())).first()
            if row is None:
                await c.execute(T.insert().values(key=key, owner=owner, epoch=1, until=now + ttl))
                return 1
            if row.until > now:
                return None
            await c.execute(update(T).where(T.c.key == key).values(owner=owner, epoch=row.epoch + 1, until=now + ttl))
            return int(row.epoch) + 1

        try:
            return await self._s.write(work)
        except Conflict:
            return None  # two first ones: the other won

    async def renew(self, key: str, epoch: int, ttl: float) -> bool:
        """False: it is somebody else's by now."""

        async def work(c: AsyncConnection) -> bool:
            done = await c.execute(update(T).where(T.c.key == key, T.c.epoch == epoch).values(until=time.time() + ttl))
            return bool(done.rowcount)

        return await self._s.write(work)

    async def held(self, key: str) -> bool:
        """Whether anybody holds it now."""

        async def work(c: AsyncConnection) -> bool:
            found = await c.execute(select(T.c.key).where(T.c.key == key, T.c.until > time.time()))
            return found.first() is not None

        return await self._s.read(work)

    async def release(self, key: str, epoch: int) -> None:
        """Free it, if it is still ours."""

        async def work(c: AsyncConnection) -> None:
            await c.execute(delete(T).where(T.c.key == key, T.c.epoch == epoch))

        await self._s.write(work)

    @asynccontextmanager
    async def single_flight(self, key: str, owner: str, ttl: float, wait: float) -> AsyncIterator[int]:
        """Hold ``key`` for the block, waiting up to ``wait`` for others; renewed while the block runs.

        Followers must look first whether the leader did the work. Raises Fault 503 when the wait is over.
        """
        lock = self._here.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(wait):
                await lock.acquire()
        except TimeoutError:
            raise Fault(503, "This is being prepared; try again shortly.", headers={"Retry-After": "5"}) from None
        try:
            epoch = await self._wait(key, owner, ttl, wait)
            keeper = asyncio.create_task(self._keep(key, epoch, ttl))
            try:
                yield epoch
            finally:
                keeper.cancel()
                await self.release(key, epoch)
        finally:
            lock.release()
            if not lock.locked() and len(self._here) > 1000:
                self._here.pop(key, None)

    async def _wait(self, key: str, owner: str, ttl: float, wait: float) -> int:
        end, pause = time.monotonic() + wait, 0.05
        while (epoch := await self.acquire(key, owner, ttl)) is None:
            if time.monotonic() > end:
                raise Fault(503, "This is being prepared; try again shortly.", headers={"Retry-After": "5"})
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 1.5)
        return epoch

    async def _keep(self, key: str, epoch: int, ttl: float) -> None:
        while True:
            await asyncio.sleep(ttl / 3)
            if not await self.renew(key, epoch, ttl):
                return
