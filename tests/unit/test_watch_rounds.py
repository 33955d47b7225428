"""The watch goes on: whatever one intent, the site or the database does, the others come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cascade.model.errors import BadReply, SiteTimeout, SiteUnreachable, StoreError
from cascade.reconcile import watch as watching
from tests.unit.watch_fake import World, a_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        yield found


ACTIVE = (200, {"server": {"status": "ACTIVE"}})
POISON: list[Any] = [
    (200, {"servers": {}}), (200, []), (200, None), (500, {}), (401, {}), SiteTimeout("paris", "slow"), BadReply("paris", "?"),
    SiteUnreachable("tokyo", "another site's replica"), ValueError("a bug"),
]  # fmt: skip


@pytest.mark.parametrize("poison", POISON, ids=str)
async def test_a_poisonous_intent_stops_no_other(world: World, poison: Any) -> None:
    """The oldest one is looked at first, in every round."""
    a = await world.process()
    await world.create(a, made="bad", state="owned")
    await world.create(a, made="good", state="owned")
    world.site.answers = {"/servers/bad": poison, "/servers/good": ACTIVE}
    with structlog.testing.capture_logs() as logs:
        assert await world.round(a) == 1
    assert [i.resource_id for i in await a._store.intents.pending()] == ["bad"]
    assert [x["event"] for x in logs if x["log_level"] in ("warning", "error")]
    await a.close()


async def test_a_site_that_is_away_is_asked_once_a_round(world: World) -> None:
    a = await world.process()
    for made in ("s", "t"):
        await world.create(a, made=made, state="owned")
    world.site.answers = dict.fromkeys(("/servers/s", "/servers/t"), SiteUnreachable("paris", "refused"))
    with pytest.raises(SiteUnreachable):
        await world.round(a)
    assert len(world.site.asked) == 1
    await a.close()


async def test_a_database_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the rounds nor the sign of life end with it."""
    monkeypatch.setattr(watching, "WORST", 0.05)
    a = await world.process()
    await world.create(a, made="s", state="owned")
    world.site.answers = {"/servers/s": ACTIVE}
    read, write, broken = a._store.intents._s.read, a._store.intents._s.write, StoreError("gone")

    async def away(*_: Any) -> Any:
        raise broken

    monkeypatch.setattr(a._store.intents._s, "read", away)
    monkeypatch.setattr(a._store.intents._s, "write", away)
    a.wake("paris")
    with structlog.testing.capture_logs() as logs:
        await asyncio.sleep(0.6)
    assert {"watch waits", "the store does not answer; others may take over what this process began"} <= {x["event"] for x in logs}
    assert a.presence._task is not None and not a.presence._task.done()
    monkeypatch.setattr(a._store.intents._s, "read", read)
    monkeypatch.setattr(a._store.intents._s, "write", write)
    for _ in range(50):
        if not await a._store.intents.pending():
            break
        await asyncio.sleep(0.05)
    assert await a._store.intents.pending() == []
    await a.close()


async def test_pauses_grow_while_a_site_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a minute, and say so once in a while; whoever opens something new is served at once."""
    a = await world.process()
    await world.create(a, made="s", state="owned")
    world.site.answers = {"/servers/s": SiteUnreachable("paris", "refused")}
    waits: list[float] = []
    enough = asyncio.Event()

    async def wait(site: str, seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 12:
            enough.set()
            await asyncio.Event().wait()
        return False

    monkeypatch.setattr(a, "_pause", wait)
    with structlog.testing.capture_logs() as logs:
        a.wake("paris")
        await asyncio.wait_for(enough.wait(), 5)
    assert waits == sorted(waits) and waits[0] < 1 and waits[-1] == watching.WORST
    assert any(x["event"] == "watch waits" and x["again_in"] for x in logs)
    await a.close()


async def test_a_request_that_ends_without_a_word_leaves_its_intent_to_the_watch(world: World) -> None:
    """Cancelled with its connection, or ended by a bug: nobody else would wake the watch of this process."""
    a = await world.process()
    intent = await world.create(a, state="new")
    with pytest.raises(ZeroDivisionError), a.at_work(intent):
        raise ZeroDivisionError
    await world.later(10)
    for _ in range(60):
        if not await a._store.intents.pending():
            break
        await asyncio.sleep(0.05)
    assert await a._store.ledger.usage("p") == {}
    await a.close()
