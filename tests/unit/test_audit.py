"""What went at a site without us is found, whatever the site tells of it, and nothing else is even looked at for long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
import pytest
from sqlalchemy import select, update

from cascade.reconcile import audit
from cascade.reconcile.audit import WALKS, Audit
from cascade.sites.south import Reply
from cascade.store import Store
from cascade.store.index import IndexEntry
from cascade.store.schema import leases

NOW = 1_800_000_000.0


class Site:
    """Lists, newest first, of which a page has two rows however many were asked for; Nova's memory of the deleted."""

    def __init__(self) -> None:
        self.there: dict[str, list[str]] = {w.path: [] for w in WALKS}
        self.deleted: list[str] = []
        self.asked: list[str] = []
        self.health = SimpleNamespace(on_up=[], on_down=[])

    def names(self) -> list[str]:
        return ["paris"]

    def usable(self, _: str) -> bool:
        return True

    async def call(self, site: str, service: str, method: str, path: str, *, params: Any = (), **_: Any) -> Reply:
        query = dict(params)
        self.asked.append(path + "?" + "&".join(f"{k}={v}" for k, v in query.items()))
        key = path[1:]
        if "deleted" in query:
            return self.reply(200, {key: [{"id": i} for i in self.deleted]})
        rows = self.there[path]
        if (marker := query.get("marker")) is not None:
            if marker not in rows:
                return self.reply(400, {"badRequest": {"code": 400, "message": f"marker [{marker}] not found"}})
            rows = rows[rows.index(marker) + 1 :]
        more = {f"{key}_links": [{"rel": "next", "href": "..."}]} if len(rows) > 2 else {}
        return self.reply(200, {key: [{"id": i} for i in rows[:2]], **more})

    def reply(self, status: int, doc: Any) -> Reply:
        return Reply("paris", status, {}, msgspec.json.encode(doc))


class World:
    def __init__(self, store: Store) -> None:
        self.store, self.site = store, Site()
        self.missed: list[str] = []
        self.now = NOW
        self.audit = Audit(store, cast(Any, self.site), cast(Any, self.site), self.missing, interval=60, clock=lambda: self.now)

    async def missing(self, entry: IndexEntry) -> None:
        """The last word is the site's, as in Watch."""
        self.missed.append(entry.id)
        path = next(w.path for w in WALKS if w.kind == entry.kind)
        if entry.id not in self.site.there[path]:
            await self.store.index.tombstone(entry.kind, entry.id)

    async def have(self, kind: str, count: int) -> list[str]:
        """Things both sides know, newest first."""
        ids = [f"{kind}-{n:02}" for n in reversed(range(count))]
        for n, ident in enumerate(reversed(ids)):
            await self.store.index.add(kind, ident, site="paris", project_id="p", user_id="u", created=NOW - 1000 + n)
        self.site.there[next(w.path for w in WALKS if w.kind == kind)] = list(ids)
        return ids

    async def looks(self, count: int) -> None:
        for _ in range(count):
            await self.audit.look("paris")

    async def known(self, kind: str) -> set[str]:
        return {e.id for e in await self.store.index.between(kind, "paris", None, None, 1000)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/cascade.db")
    yield World(store)
    await store.close()


async def test_what_nova_tells(world: World) -> None:
    """At the first look, and nothing else of the site is asked about."""
    ids = await world.have("server", 9)
    world.site.there["/servers"].remove(ids[8])
    world.site.deleted = [ids[8], "somebody else's"]
    await world.looks(1)
    assert world.missed == [ids[8]] and await world.known("server") == set(ids[:8])


@pytest.mark.parametrize("walk", WALKS, ids=lambda w: w.kind)
async def test_what_nobody_tells(world: World, walk: Any) -> None:
    """Wherever in the list it stood, also with others made meanwhile; what is there is not asked for one by one."""
    ids = await world.have(walk.kind, 11)
    for gone in (ids[0], ids[4], ids[10]):
        world.site.there[walk.path].remove(gone)
    world.site.there[walk.path].insert(0, "made just now, unknown here")
    await world.looks(20)
    assert await world.known(walk.kind) == set(ids) - {ids[0], ids[4], ids[10]}
    assert sorted(set(world.missed)) == sorted([ids[0], ids[4], ids[10]])


async def test_everything_went(world: World) -> None:
    await world.have("volume", 5)
    world.site.there["/volumes"].clear()
    await world.looks(len(WALKS))
    assert await world.known("volume") == set()


async def test_the_marker_went(world: World) -> None:
    """The walk begins again and still comes to its end."""
    ids = await world.have("server", 9)
    await world.looks(1)
    world.site.there["/servers"] = [i for i in ids if i not in (ids[1], ids[7])]
    await world.looks(12)
    assert await world.known("server") == set(ids) - {ids[1], ids[7]}


async def test_work_of_ours_is_left_alone(world: World) -> None:
    """A server that is about to be made at its site is not there yet; the watch sees to it."""
    await world.have("server", 1)
    await world.store.index.add("server", "building", site="paris", project_id="p", user_id="u", created=NOW)
    await world.store.intents.open(
        "server.create", site="paris", project_id="p", user_id="u", resource_id="building", request_id="r", body={}, state="waiting"
    )
    await world.looks(2 * len(WALKS))
    assert world.missed == []


async def test_two_calls_a_look(world: World) -> None:
    await world.have("server", 9)
    await world.looks(10)
    assert len(world.site.asked) == 20
    since = [dict(parse_qsl(a.partition("?")[2]))["changes-since"] for a in world.site.asked if "deleted" in a]
    assert since[0] < since[1] == since[9], "the first look goes back a day, the others to the look before"


async def test_of_two_processes_one_looks(world: World) -> None:
    other = Audit(world.store, cast(Any, world.site), cast(Any, world.site), world.missing, interval=60, clock=lambda: NOW)
    await world.audit._guarded("paris")
    await other._guarded("paris")
    assert len(world.site.asked) == 2


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look settles two things, and the next follows at once."""
    monkeypatch.setattr(audit, "SUSPECTS", 2)
    monkeypatch.setattr(audit, "AGAIN", 0)


@pytest.mark.usefixtures("few")
async def test_much_that_nova_tells_of_is_settled_in_a_row(world: World) -> None:
    """And it is asked for since the same moment until nothing is left."""
    ids = await world.have("server", 9)
    world.site.there["/servers"] = ids[:2]
    world.site.deleted = ids[2:]
    await world.audit._guarded("paris")
    assert await world.known("server") == set(ids[:2])
    since = [dict(parse_qsl(a.partition("?")[2]))["changes-since"] for a in world.site.asked if "deleted" in a]
    assert len(since) > 2 and len(set(since)) == 1


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("taken", [False, True])
async def test_a_long_row_of_looks_keeps_its_lease_or_ends(world: World, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    ids = await world.have("server", 9)
    world.site.there["/servers"], world.site.deleted = [], ids
    look, until = world.audit.look, list[float]()

    async def slow(site: str) -> bool:
        more = await look(site)
        async with world.store._session.engine.connect() as c:
            until.append((await c.execute(select(leases.c.until))).scalar_one())
        if taken:  # by another process, since this one's had run out
            await world.store._session.write(lambda c: c.execute(update(leases).values(owner="other", epoch=leases.c.epoch + 1)))
        return more

    monkeypatch.setattr(world.audit, "look", slow)
    await world.audit._guarded("paris")
    assert len(until) == 1 if taken else (len(until) > 2 and until == sorted(set(until)))


@pytest.mark.usefixtures("few")
async def test_much_that_nobody_tells_of_is_settled_where_it_is_missed(world: World) -> None:
    ids = await world.have("volume", 9)
    world.site.there["/volumes"] = [ids[0], ids[8]]
    await world.audit.look("paris")  # of the servers
    await world.audit._guarded("paris")
    assert await world.known("volume") == {ids[0], ids[8]}


@pytest.mark.usefixtures("few")
async def test_what_a_site_hides_and_still_has_holds_nothing_up(world: World) -> None:
    ids = await world.have("server", 9)
    world.site.deleted = ids[:5]  # it says so, and it is not so
    await world.audit._guarded("paris")
    assert await world.known("server") == set(ids) and len(world.site.asked) == 2


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("seconds", "whole"), [(59, False), (60, True)])
async def test_a_site_that_was_away_for_long_is_walked_at_once(world: World, seconds: float, whole: bool) -> None:
    for walk in WALKS:
        await world.have(walk.kind, 5)
    await world.audit.look("paris")
    for tell in world.site.health.on_down:
        tell("paris")
    world.now += seconds
    for tell in world.site.health.on_up:
        tell("paris")
        tell("tokyo")
    for walk in WALKS:
        world.site.there[walk.path].pop()
    before = len(world.site.asked)
    await world.audit._guarded("paris")
    left = [len(await world.known(walk.kind)) for walk in WALKS]
    assert left == [4, 4, 4, 4] if whole else (left[1:] == [5, 5, 5] and len(world.site.asked) == before + 2)
    before = len(world.site.asked)
    assert not await world.audit.look("paris") and len(world.site.asked) == before + 2
