"""Things that change hands, and what a thing counts as."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascade.model.errors import OverQuota
from cascade.quota.amounts import block_amounts
from cascade.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/c.db")
    await opened.index.add("volume", "v", site="paris", project_id="giver", user_id="g", created=1.0)
    await opened.ledger.put("v", "giver", "g", {"volumes": 1, "gigabytes": 5})
    await opened.ledger.put("s", "giver", "g", {"snapshots": 1, "gigabytes": 5})
    yield opened
    await opened.close()


async def test_index_and_presence_move(store: Store) -> None:
    for _ in range(2):
        await store.index.move("volume", "v", project_id="taker", user_id="t")
    entry = await store.index.get("volume", "v")
    assert entry is not None and (entry.project_id, entry.user_id, entry.site) == ("taker", "t", "paris")
    assert await store.index.sites_of(None, "giver") == set()
    assert await store.index.sites_of("volume", "taker") == {"paris"}
    await store.index.move("volume", "unknown", project_id="taker", user_id="t")


async def test_ledger_moves_all_or_none(store: Store) -> None:
    with pytest.raises(OverQuota):
        await store.ledger.move(["v", "s"], "taker", "t", {"volumes": 9, "gigabytes": 9})
    assert await store.ledger.usage("taker") == {}
    await store.ledger.move(["v", "s"], "taker", "t", {"volumes": 9, "gigabytes": 10})
    await store.ledger.move(["v", "s"], "taker", "t", {"volumes": 1, "gigabytes": 10})  # its own already: nothing more
    assert await store.ledger.usage("giver") == {}
    assert await store.ledger.usage("taker") == {"volumes": 1, "gigabytes": 10, "snapshots": 1}
    await store.ledger.move(["v", "s"], "giver", "g", {})
    assert (await store.ledger.usage("giver"))["gigabytes"] == 10


@pytest.mark.parametrize(
    ("kind", "shown", "amounts"),
    [
        ("volume", {"size": 2, "volume_type": "fast"}, {"volumes": 1, "gigabytes": 2, "volumes_fast": 1, "gigabytes_fast": 2}),
        ("volume", {"size": 2, "volume_type": None}, {"volumes": 1, "gigabytes": 2}),
        ("snapshot", {"size": 1}, {"snapshots": 1, "gigabytes": 1}),
        ("backup", {"size": 1, "volume_type": "fast"}, {"backups": 1, "backup_gigabytes": 1}),
        ("group", {}, {"groups": 1}),
        ("message", {"size": 3}, {}),
    ],
)
def test_amounts(kind: str, shown: dict[str, object], amounts: dict[str, int]) -> None:
    assert block_amounts(kind, shown) == amounts
