"""Transactions: one engine, writes that are serial on SQLite, retries where the database asks for one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cascade.model.errors import Conflict, StoreError
from cascade.store.reader import Reader

T = TypeVar("T")
TRIES = 8
"""A deadlock or lock time-out is tried so often again; each wait is jittered and grows."""


_POSTGRESQL: dict[str, Any] = {"pool_size": 10, "max_overflow": 0}
"""Connections for writes, and as many for reads."""


class Session:
    """``read`` and ``write`` run a function in a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.sqlite = url.startswith("sqlite")
        more = {} if self.sqlite else _POSTGRESQL if url.startswith("postgresql") else {"pool_size": 10}
        self.engine: AsyncEngine = create_async_engine(url, **more, pool_pre_ping=not self.sqlite)
        self._reads = self.engine
        if url.startswith("postgresql"):
            # It gives each statement a snapshot of its own, in a transaction or not. A read does without the round trips of
            # one, and without that of a ping: what it finds broken it does again, which is no harm.
            self._reads = create_async_engine(url, **_POSTGRESQL, isolation_level="AUTOCOMMIT")
        self._turn = asyncio.Lock()
        self._writing: set[asyncio.Task[Any]] = set()
        self._reader = Reader(url) if self.sqlite else None
        for engine in (self.engine.sync_engine, self._reader.engine) if self._reader is not None else ():
            event.listen(engine, "connect", _pragmas)
            event.listen(engine, "begin", _immediate)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """``work`` in one transaction; tried again on serialisation failures, so it must have no other effects.

        It comes to its end even where the caller is cancelled meanwhile: SQLite keeps a closed connection's transaction, and with
        it the lock that all others wait for, as long as a statement of it has not been read to its end and nobody collects it.
        Raises Conflict for a broken uniqueness, StoreError where the database fails.
        """
        task = asyncio.create_task(self._write(work), name="write")
        self._writing.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # it is for the caller; where he has gone, nobody has to see it

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        for attempt in range(TRIES):
            try:
                if not self.sqlite:
                    async with self.engine.begin() as c:
                        return await work(c)
                async with self._turn, self.engine.connect() as c:  # one writer: queueing here is cheaper than in SQLite
                    c = await c.execution_options(cascade_write=True)
                    async with c.begin():
                        return await work(c)
            except IntegrityError as e:
                raise Conflict(str(e.orig)) from e
            except DBAPIError as e:
                if attempt == TRIES - 1 or not _retriable(e):
                    raise StoreError(str(e.orig)) from e
            except (SQLAlchemyError, OSError) as e:  # no connection, none free in the pool
                raise StoreError(str(e)) from e
            await asyncio.sleep(0.02 * 2**attempt * random.uniform(0.5, 1.5))
        raise AssertionError("unreachable")

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """``work`` on a connection that writes nothing; it waits for no more than its statements. Raises StoreError."""
        try:
            if self._reader is not None:
                return await self._reader.read(work)
            try:
                return await self._read(work)
            except DBAPIError as e:
                if not e.connection_invalidated:
                    raise
                return await self._read(work)  # the server ended it meanwhile, and all others of the pool have been let go
        except (SQLAlchemyError, OSError) as e:
            raise StoreError(str(e)) from e

    async def _read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._reads.connect() as c:
            return await work(c)

    async def close(self) -> None:
        """End all connections, once what is being written is."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        if self._reader is not None:
            await self._reader.close()
        await self.engine.dispose()
        await self._reads.dispose()


def _retriable(e: DBAPIError) -> bool:
    text = str(e.orig).lower()
    return any(w in text for w in ("locked", "deadlock", "serializ", "lock wait timeout", "1213", "1205"))


def _pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "cache_size=-16000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _immediate(connection: Any) -> None:
    writes = connection.get_execution_options().get("cascade_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
