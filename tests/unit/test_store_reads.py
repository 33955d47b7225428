"""Reads on PostgreSQL have connections of their own, without a transaction and without a ping before each."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.store import Store
from tests.unit.test_store import postgresql  # noqa: F401 (a fixture)


async def test_reads_survive_a_server_that_ended_their_connections(postgresql: str) -> None:  # noqa: F811
    """As a restart of the database does: nobody is told of it."""
    await asyncio.to_thread(Store.migrate, postgresql)
    first, other = await Store.open(postgresql), await Store.open(postgresql)
    try:
        for _ in range(3):
            await asyncio.gather(*(first.index.get("server", "none") for _ in range(5)))

            async def end(c: AsyncConnection) -> int:
                others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
                q = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {others}"
                return int((await c.execute(text(q))).scalar_one())

            assert await other._session.write(end) >= 5
            assert await asyncio.gather(*(first.index.get("server", "none") for _ in range(5))) == [None] * 5
    finally:
        await first.close()
        await other.close()
