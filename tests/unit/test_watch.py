"""Intents come to their end once, whoever began them and whatever the site says meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from cascade.model.errors import Conflict, Fault, SiteUnreachable
from cascade.reconcile import watch as watching
from cascade.store.index import IndexEntry
from cascade.store.schema import intents as table
from tests.unit.watch_fake import World, a_world, heir_of


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as found:
        yield found


async def test_another_process_keeps_its_hands_off(world: World) -> None:
    """What a living process is at work on is not taken back by its neighbour, however long it takes (an image, say)."""
    a, b = await world.process(), await world.process()
    intent = await world.create(a, state="new")
    with a.at_work(intent):
        await world.later(1000)
        assert await world.round(b) == 0 and await world.round(a) == 0
        await a._store.intents.advance(intent.id, "posting")
    assert world.ports.released == []
    await a.close()
    await b.close()


async def test_a_look_at_what_is_gone_does_not_fail_for_the_hub(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's own site says 404 while the hub does not answer about its ports: the client gets his 404, tidying comes later."""
    a = await world.process()
    entry = IndexEntry(kind="server", id="s1", site="paris", project_id="p", user_id="u", created=1.0)
    await a._store.index.add_many([entry])

    async def away(device: str, site: str, *, keep: set[str] | None) -> None:
        raise SiteUnreachable("hub", "network: counts as down, not tried")

    with monkeypatch.context() as patch:
        patch.setattr(world.ports, "release", away)
        with pytest.raises(SiteUnreachable):
            await a.missing(entry)
        await a.noticed(entry)
        assert await a._store.index.get("server", "s1") is not None, "nothing is forgotten before it is done"
    await a.noticed(entry)
    assert await a._store.index.get("server", "s1") is None and world.ports.released == ["s1"]
    await a.close()


async def test_one_heir(world: World) -> None:
    """Of a process that died, exactly one other takes over; its quota comes back once, and it learns that it is late."""
    a = await world.process()
    heirs = [await world.process(), await world.process()]
    intent = await world.create(a, state="new")
    assert sum([await world.round(h) for h in heirs]) == 0
    assert a.presence._task is not None
    a.presence._task.cancel()  # killed: it says nothing any more
    await asyncio.sleep(0.5)
    await world.later(1000)
    counts = await asyncio.gather(*(world.round(h) for h in heirs))
    assert sorted(counts) == [0, 1]
    assert world.ports.released == [intent.id]
    assert await heirs[0]._store.ledger.usage("p") == {}
    with pytest.raises(Conflict):
        await a._store.intents.advance(intent.id, "posting")
    for h in heirs:
        await h.close()


async def test_leaving_politely_frees_at_once(world: World) -> None:
    a, b = await world.process(), await world.process()
    await world.create(a, state="undo")
    await a.close()
    await world.later(10)
    assert await world.round(b) == 1
    await b.close()


async def test_one_bad_intent_keeps_nobody_waiting(world: World) -> None:
    """A server at which the site's Nova stumbles (500) beside one that is ready."""
    a = await world.process()
    await world.create(a, made="bad", state="owned")
    await world.create(a, made="good", state="owned")
    world.site.answers = {"/servers/bad": (500, {}), "/servers/good": (200, {"server": {"status": "ACTIVE"}})}
    assert await world.round(a) == 1
    assert [i.resource_id for i in await a._store.intents.pending()] == ["bad"]
    await a.close()


async def test_one_404_after_a_202_proves_nothing(world: World) -> None:
    a = await world.process()
    await a._store.index.add("server", "s", site="paris", project_id="p", user_id="u")
    await world.create(a, made="s", state="owned")
    assert await world.round(a) == 0
    assert await a._store.index.get("server", "s") is not None
    assert await world.round(a) == 1
    assert await a._store.index.get("server", "s") is None
    await a.close()


async def test_found_by_its_stamp_once(world: World) -> None:
    """The answer to the POST was lost, the server is there."""
    a = await world.process()
    intent = await world.create(a)
    world.site.answers = {"/servers": (200, {"servers": [{"id": "s"}]}), "/servers/s": (200, {"server": {"status": "BUILD"}})}
    await world.later(3)
    assert await world.round(a) == 0
    assert (await a._store.intents.get(intent.id)).resource_id == "s"
    assert await a._store.ledger.usage("p") == {"instances": 1}
    assert world.site.asked[0][2] == [("all_tenants", "1"), ("tags", f"cascade.{intent.id}")]
    assert await world.round(a) == 0
    assert set(world.ports.owned) == {"s"}  # by this look, and maybe by the watch itself
    await a.close()


@pytest.mark.parametrize(("state", "seconds"), [("posting", watching.LOST_AFTER), ("unsure", watching.UNSURE)])
async def test_nowhere(world: World, state: str, seconds: float) -> None:
    """A create whose stamp is nowhere is taken back, later where the site was silent to it."""
    a = await world.process()
    await world.create(a, state=state)
    world.site.answers = {"/servers": (200, {"servers": []})}
    await world.later(seconds - 2)
    assert await world.round(a) == 0
    await world.later(4)
    assert await world.round(a) == 1
    assert await a._store.ledger.usage("p") == {}
    await a.close()


@pytest.mark.parametrize("kind", ["backup", "group", "attachment", "transfer"])
async def test_what_has_no_stamp_is_not_looked_for(world: World, kind: str) -> None:
    """A list that cannot be narrowed to the stamp would give other people's things; the reservation ends instead."""
    a = await world.process()
    await world.create(a, kind=kind)
    await world.later(watching.LOST_AFTER + 3)
    assert await world.round(a) == 1
    assert world.site.asked == []
    assert await a._store.ledger.usage("p") == {}
    await a.close()


async def test_stamp_of_a_volume_goes(world: World) -> None:
    """Also where the request that should have removed it died."""
    a = await world.process()
    await world.create(a, kind="volume", made="v", state="accepted")
    world.site.answers = {"/volumes/v": (200, {"volume": {"status": "available"}})}
    assert await world.round(a) == 1
    assert ("DELETE", "/volumes/v/metadata/cascade", None) in world.site.asked
    await a.close()


async def test_a_second_delete_ends_nothing(world: World) -> None:
    """The site refuses it (the first is under way): the first is watched on."""
    a = await world.process()
    await a._store.index.add("server", "s", site="paris", project_id="p", user_id="u")
    entry = await a._store.index.get("server", "s")
    assert entry is not None
    first = await a.begin_delete("server.delete", entry, "one")
    assert (await a.begin_delete("server.delete", entry, "two")).id == first.id
    await a.refused(first, SimpleNamespace(request_id="two"))
    assert len(await a._store.intents.by_resource("s")) == 1
    await a.refused(first, SimpleNamespace(request_id="one"))
    assert await a._store.intents.by_resource("s") == []
    await a.close()


async def test_a_bug_does_not_end_the_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounds go on after an exception nobody thought of."""
    monkeypatch.setattr(watching, "LAST", 0.01)
    a = await world.process()
    await world.create(a, made="s", state="owned")
    world.site.answers = {"/servers/s": (200, {"servers": {}})}  # no server in it: KeyError
    a.wake("paris")
    await asyncio.sleep(0.2)
    world.site.answers = {"/servers/s": (200, {"server": {"status": "ACTIVE"}})}
    for _ in range(50):
        if not await a._store.intents.pending():
            break
        await asyncio.sleep(0.05)
    assert await a._store.intents.pending() == []
    await a.close()


async def test_given_up(world: World) -> None:
    """A delete that never ends is not asked for until the end of days, but is looked at once more first."""
    a = await world.process()
    await a._store.index.add("server", "s", site="paris", project_id="p", user_id="u")
    entry = await a._store.index.get("server", "s")
    assert entry is not None
    await a.begin_delete("server.delete", entry, "one")
    world.site.answers = {"/servers/s": (200, {"server": {"status": "ACTIVE"}})}
    assert await world.round(a) == 0

    async def aged(c: Any) -> None:
        await c.execute(update(table).values(created=1.0, updated=1.0))

    await a._store.intents._s.write(aged)
    assert await world.round(a) == 1
    assert await a._store.index.get("server", "s") is not None
    await a.close()


async def test_a_transfer_taken_back(world: World) -> None:
    """A kind without a status: it is there, or it is gone."""
    a = await world.process()
    await a._store.index.add("transfer", "t", site="paris", project_id="p", user_id="u")
    entry = await a._store.index.get("transfer", "t")
    assert entry is not None
    await a.begin_delete("transfer.delete", entry, "one")
    world.site.answers = {"/volume-transfers/t": (200, {"transfer": {"id": "t"}})}
    assert await world.round(a) == 0
    world.site.answers = {}
    assert await world.round(a) == 1
    assert await a._store.index.get("transfer", "t") is None
    await a.close()


async def test_late_answer_after_the_heir_adopted(world: World) -> None:
    """A process that slept through its own death certificate: its answer changes nothing, and its client hears of success."""
    a = await world.process()
    intent = await world.create(a)
    b = await heir_of(world, a)
    world.site.answers = {"/servers": (200, {"servers": [{"id": "s"}]}), "/servers/s": (200, {"server": {"status": "BUILD"}})}
    assert await world.round(b) == 0
    await a.accepted(intent, "s")
    found = await b._store.intents.get(intent.id)
    assert (found.owner, found.resource_id) == (b._store.owner, "s")
    assert await b._store.ledger.usage("p") == {"instances": 1}
    await a.close()
    await b.close()


async def test_late_answer_after_the_heir_took_it_back(world: World) -> None:
    """Ports and quota are gone: the server must not be presented as made."""
    a = await world.process()
    intent = await world.create(a)
    b = await heir_of(world, a)
    world.site.answers = {"/servers": (200, {"servers": []})}
    await world.later(watching.LOST_AFTER + 1)
    assert await world.round(b) == 1
    with pytest.raises(Fault) as e:
        await a.accepted(intent, "s")
    assert e.value.status == 503
    assert await b._store.index.get("server", "s") is None
    await a.close()
    await b.close()


async def test_an_heir_that_is_late_itself_undoes_nothing(world: World) -> None:
    """Between a look at the site and the undoing the intent went to another: the fence holds."""
    a = await world.process()
    intent = await world.create(a, state="new")
    stale = await a._store.intents.get(intent.id)
    b = await heir_of(world, a)
    assert [i.id for i in await b.presence.mine(await b._store.intents.pending())] == [intent.id]
    await world.later(watching.LOST_AFTER + 1)
    with pytest.raises(Conflict):
        await a._step(stale, {})
    assert world.ports.released == []
    assert await b._store.ledger.usage("p") == {"instances": 1}
    await a.close()
    await b.close()
