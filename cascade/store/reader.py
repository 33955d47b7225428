"""Reads of a SQLite file: the whole of a read in one visit to a thread.

The asyncio driver visits its thread for every statement, row set, begin and end: eight times for a read of one row, which
then costs three times the CPU and, on a busy loop, five times the time. Where the database is a server, that is no question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
THREADS = 4
"""Reads at once; further ones wait. One that looks at many rows must not hold up those that look at one."""


class _Here:
    """As much of an ``AsyncConnection`` as a read needs, in the thread that asks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any, values: Any = None) -> CursorResult[Any]:
        """One statement; it does not wait for anything but the file."""
        return self._connection.execute(statement, values)


class Reader:
    """``read`` runs a function on a connection of its own, in a transaction, so that it sees one state of the file."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = create_engine(make_url(url).set(drivername="sqlite"), pool_size=THREADS)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """``work``, which may execute statements and wait for nothing else. Raises SQLAlchemyError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)

    def _read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        with self.engine.connect() as connection:
            steps = work(cast(AsyncConnection, _Here(connection))).__await__()
            try:
                next(steps)
            except StopIteration as done:
                return cast(T, done.value)
            raise TypeError("a read waits for something that is not the database")

    async def close(self) -> None:
        """Wait for the reads under way, close the file."""
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()
