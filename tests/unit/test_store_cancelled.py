"""Who is cancelled in the middle of a write leaves no transaction behind, and with it the lock all others wait for."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.store import Store


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is cleaned up by chance: a gateway searches for garbage rarely."""
    gc.disable()
    yield
    gc.enable()


async def test_others_write_on(tmp_path: Path, uncollected: None) -> None:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db")
    try:
        for n in range(400):  # whatever it is at: waiting for its turn, connecting, beginning, reading, writing, committing
            writes = [asyncio.create_task(store.leases.acquire(f"{n % 7}/{i}", "me", 10.0)) for i in range(3)]
            await asyncio.sleep(random.uniform(0.0, 0.008))
            for write in writes:
                write.cancel()
            await asyncio.gather(*writes, return_exceptions=True)
            async with asyncio.timeout(5):
                await store.index.add("server", f"s{n}", site="a", project_id="p", user_id="u")
    finally:
        await store.close()


async def test_the_end_waits_for_what_is_being_written(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/t.db"
    store = await Store.open(url)
    write = asyncio.create_task(store.index.add("server", "s", site="a", project_id="p", user_id="u"))
    await asyncio.sleep(0)
    write.cancel()
    await store.close()
    again = await Store.open(url)
    try:
        assert await again.index.get("server", "s") is not None
    finally:
        await again.close()
