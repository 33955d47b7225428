"""The store on SQLite, on PostgreSQL, and on every database whose URL stands in CASCADE_TEST_DB_URLS (space-separated).

MariaDB's is the lab's: tests/lab/test_databases.py.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pgserver
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from cascade.model.errors import Conflict, Fault, OverQuota
from cascade.model.site import Site
from cascade.store import Store
from cascade.store.index import IndexEntry
from cascade.store.pairs import Pair
from cascade.store.roles import RoleSet
from cascade.store.schema import index

URLS = ["sqlite", "postgresql", *os.environ.get("CASCADE_TEST_DB_URLS", "").split()]


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, on a socket in a folder."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # short: a socket's path may have a hundred characters
        server = pgserver.get_server(folder)
        yield f"postgresql+asyncpg://postgres@/postgres?host={folder}"
        server.cleanup()


@pytest.fixture(params=URLS, ids=[u.split(":")[0] for u in URLS])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A fresh database."""
    url = f"sqlite+aiosqlite:///{tmp_path}/c.db" if request.param == "sqlite" else request.param
    if url == "postgresql":
        url = request.getfixturevalue("postgresql")
    if request.param != "sqlite":
        await _emptied(url)
        await asyncio.to_thread(Store.migrate, url)
    opened = await Store.open(url)
    yield opened
    await opened.close()


async def _emptied(url: str) -> None:
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url)
    async with engine.begin() as c:

        def drop(connection: Any) -> None:
            found = MetaData()
            found.reflect(connection)
            found.drop_all(connection)

        await c.run_sync(drop)
    await engine.dispose()


def create(store: Store, n: int = 1, limit: int = 10) -> Any:
    """One reservation of instances."""
    return store.begin_create(
        "server.create", site="paris", project_id="p", user_id="u", request_id="r", body={"a": 1}, amounts={"instances": n},
        limits={"instances": limit},
    )  # fmt: skip


async def test_two_hundred_against_ten(store: Store) -> None:
    """Exactly ten of 200 concurrent creates pass a limit of ten, and each leaves its intent."""
    done = await asyncio.gather(*(create(store) for _ in range(200)), return_exceptions=True)
    passed = [d for d in done if not isinstance(d, BaseException)]
    assert {type(d) for d in done if isinstance(d, BaseException)} == {OverQuota}
    assert len(passed) == 10
    assert all(isinstance(d, OverQuota) and d.limit == 10 for d in done if isinstance(d, BaseException))
    assert await store.ledger.usage("p") == {"instances": 10}
    assert len(await store.intents.pending()) == 10


async def test_refused_create_writes_nothing(store: Store) -> None:
    """Neither intent nor amount."""
    with pytest.raises(OverQuota) as caught:
        await create(store, n=11)
    assert (caught.value.resource, caught.value.used, caught.value.requested, caught.value.limit) == ("instances", 0, 11, 10)
    assert await store.intents.pending() == [] and await store.ledger.usage("p") == {}


async def test_a_rebuild_counts_a_thing_once(store: Store) -> None:
    """A server that stands on two pages of a walk is one holder, as last seen."""
    seen = [("s1", "p", "u", {"instances": 1, "cores": 2}), ("s2", "p", "u", {"instances": 1}), ("s1", "p", "u", {"instances": 1})]
    for _ in range(2):
        await store.ledger.put_many(seen)
    assert await store.ledger.usage("p") == {"instances": 2}


async def test_amounts_follow_the_thing(store: Store) -> None:
    """From intent to server, changed by a resize, released once; doing any of it twice changes nothing."""
    intent = await create(store)
    for _ in range(2):
        await store.ledger.assign(intent.id, ["s1"])
    assert await store.ledger.held("s1") == {"instances": 1} and await store.ledger.held(intent.id) == {}
    await store.ledger.change("s1", {"instances": 1, "cores": 4}, {"cores": 4})
    with pytest.raises(OverQuota):
        await store.ledger.change("s1", {"instances": 1, "cores": 5}, {"cores": 4})
    assert await store.ledger.usage("p") == {"instances": 1, "cores": 4}
    await store.ledger.change("unknown", {"instances": 1}, {})
    for _ in range(2):
        await store.ledger.release("s1")
    assert await store.ledger.usage("p") == {}


async def test_index_knows_presence(store: Store) -> None:
    """Where a project has anything, and which site is its home; tombstones are no presence and are not revived."""
    for n, site in enumerate(("tokyo", "paris", "paris")):
        await store.index.add("server", f"s{n}", site=site, project_id="p", user_id="u", created=float(n))
        await store.index.add("server", f"s{n}", site=site, project_id="p", user_id="u", created=float(n))
    await store.index.add("volume", "v", site="paris", project_id="q", user_id="u")
    assert await store.index.sites_of("server", "p") == {"tokyo", "paris"}
    assert await store.index.sites_of("volume", "p") == set()
    assert await store.index.sites_of(None, None) == {"tokyo", "paris"}
    assert await store.index.home_of("p") == "tokyo"
    for _ in range(2):
        await store.index.tombstone("server", "s0")
    assert await store.index.sites_of(None, "p") == {"paris"} and await store.index.home_of("p") == "paris"
    assert await store.index.get("server", "s0") is None
    gone = await store.index.get("server", "s0", deleted=True)
    assert gone is not None and gone.deleted is not None
    await store.index.add("server", "s0", site="tokyo", project_id="p", user_id="u")
    assert await store.index.get("server", "s0") is None
    assert await store.index.count("server") == 2 and await store.index.count("server", "tokyo") == 0


async def test_sites_own_times(store: Store) -> None:
    """``created`` is corrected by what a site says."""
    await store.index.add("server", "s", site="paris", project_id="p", user_id="u", created=5.0)
    await store.index.set_created("server", {"s": 3.0, "unknown": 1.0})
    found = await store.index.get("server", "s")
    assert found is not None and found.created == 3.0


async def test_pairs(store: Store) -> None:
    """Both directions, idempotent, never two partners."""
    pair = Pair(kind="network", hub_id="h", site="paris", site_id="x", project_id="p")
    for _ in range(2):
        await store.pairs.put(pair)
    with pytest.raises(Conflict):
        await store.pairs.put(Pair(kind="network", hub_id="h", site="paris", site_id="y"))
    with pytest.raises(Conflict):
        await store.pairs.put(Pair(kind="network", hub_id="other", site="paris", site_id="x"))
    assert await store.pairs.to_site("paris", ["h", "z"]) == {"h": pair}
    assert await store.pairs.to_hub("paris", ["x", "z"]) == {"x": pair}
    assert await store.pairs.to_hub("tokyo", ["x"]) == {}
    assert await store.pairs.of_hub("network", "h") == [pair] and await store.pairs.by_site_id("paris", "x") == pair
    await store.pairs.drop("network", "h", "paris")
    assert await store.pairs.to_site("paris", ["h"]) == {} and await store.pairs.get("network", "h", "paris") is None


async def test_intents(store: Store) -> None:
    """Open, change, claim, close."""
    intent = await store.intents.open(
        "server.delete", site="paris", project_id="p", user_id="u", request_id="r", body={}, resource_id="s"
    )
    await store.intents.update(intent.id, state="sent", body={"k": 1})
    (found,) = await store.intents.by_resource("s")
    assert (found.state, found.body, found.owner) == ("sent", {"k": 1}, store.owner)
    assert await store.intents.claim(intent.id, "other", 60) and not await store.intents.claim(intent.id, "third", 60)
    assert (await store.intents.get(intent.id)).epoch == 2
    assert [i.id for i in await store.intents.pending(site="paris", verb="server.delete")] == [intent.id]
    await store.intents.close(intent.id)
    with pytest.raises(Conflict):
        await store.intents.get(intent.id)


async def test_leases_fence(store: Store) -> None:
    """One holder; a late former holder is told so by its epoch."""
    first = await store.leases.acquire("k", "a", 1)
    assert first == 1 and await store.leases.acquire("k", "b", 5) is None
    await asyncio.sleep(1.1)
    second = await store.leases.acquire("k", "b", 5)
    assert second == 2 and not await store.leases.renew("k", 1, 5)
    await store.leases.release("k", 1)
    assert await store.leases.renew("k", 2, 5)


async def test_single_flight(store: Store) -> None:
    """Never two at once, and a follower's wait is bounded."""
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with store.leases.single_flight("k", store.owner, 5, 10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 1
    async with store.leases.single_flight("k", store.owner, 5, 1):
        with pytest.raises(Fault) as caught:
            async with store.leases.single_flight("k", store.owner, 5, 0.2):
                pass
    assert caught.value.status == 503


async def test_sites_keep_their_numbers(store: Store) -> None:
    """A number is never another site's, since integer ids carry it."""
    paris = await store.sites.add(Site(name="paris", number=0, cloud="paris"))
    tokyo = await store.sites.add(Site(name="tokyo", number=0, cloud="tokyo", options={"wan_physnet": "w"}))
    with pytest.raises(Conflict):
        await store.sites.add(Site(name="paris", number=0, cloud="x"))
    with pytest.raises(Conflict):
        await store.sites.add(Site(name="hub", number=0, cloud="x"))
    await store.sites.remove("paris")
    osaka = await store.sites.add(Site(name="osaka", number=0, cloud="o"))
    again = await store.sites.add(Site(name="paris", number=0, cloud="paris"))
    assert (paris.number, tokyo.number, osaka.number, again.number) == (1, 2, 3, 1)
    assert (await store.sites.update("tokyo", draining=True)).draining
    assert [s.name for s in await store.sites.all()] == ["paris", "tokyo", "osaka"]


async def test_role_sets_and_docs(store: Store) -> None:
    """Order of roles is no difference; documents are replaced whole."""
    row = RoleSet(site="paris", user_id="u", project_id="p", roles=("member", "reader"), app_cred_id="a", version=1)
    await store.roles.put(row)
    await store.roles.put(row)
    assert await store.roles.get("paris", "u", "p", ("member", "reader")) == row
    assert await store.roles.get("paris", "u", "p", ("reader",)) is None
    await store.docs.put("k", {"a": [1]})
    await store.docs.put("k", {"b": None})
    assert await store.docs.get("k") == {"b": None}
    await store.docs.drop("k")
    assert await store.docs.get("k") is None


ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.text("abc", min_size=1, max_size=3), st.sampled_from(["paris", "tokyo"])),
    unique_by=lambda r: r[1],
)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, at=st.tuples(st.integers(0, 5), st.text("abc", min_size=1, max_size=3)), tie=st.sampled_from(["asc", "desc"]))
def test_preceding_is_the_row_before(rows: list[tuple[int, str, str]], at: tuple[int, str], tie: str) -> None:
    """The row of a site at or before a list position, as sorting the whole list finds it."""

    async def work(folder: str) -> None:
        store = await Store.open(f"sqlite+aiosqlite:///{folder}/c.db")
        await store.index.add_many([
            IndexEntry(kind="server", id=i, site=s, project_id="p", user_id="u", created=float(c)) for c, i, s in rows
        ])  # fmt: skip

        def place(created: float, ident: str) -> tuple[Any, ...]:
            return (-created, [ord(c) if tie == "asc" else -ord(c) for c in ident] + ([] if tie == "asc" else [0]))

        mine = sorted((place(c, i), i) for c, i, s in rows if s == "paris" and place(c, i) <= place(*at))
        found = await store.index.preceding("server", "paris", "p", float(at[0]), at[1], tie)
        assert (found.id if found else None) == (mine[-1][1] if mine else None)
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(work(folder))


async def test_reads_see_one_state_each_and_wait_for_nothing_else(store: Store) -> None:
    async def together(c: AsyncConnection) -> list[set[str]]:
        return [{r[0] for r in await c.execute(select(index.c.id))} for _ in range(3)]

    async def writes() -> None:
        for n in range(30):
            await store.index.add("server", f"s{n}", site="paris", project_id="p", user_id="u")

    busy = asyncio.create_task(writes())
    sizes = []
    while not busy.done():
        for seen in await asyncio.gather(*(store._session.read(together) for _ in range(8))):
            if store._session.sqlite:  # a server's default isolation promises less
                assert seen[0] == seen[1] == seen[2]
            sizes.append(len(seen[0]))
    await busy
    assert len(set(sizes)) > 2
    if store._session.sqlite:

        async def waits(c: AsyncConnection) -> None:
            await asyncio.sleep(0)

        with pytest.raises(TypeError, match="waits for something"):
            await store._session.read(waits)


async def test_migrated_is_declared(store: Store) -> None:
    """What alembic made is what the code believes."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from cascade.store.schema import metadata

    def differences(connection: Any) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with store._session.engine.connect() as c:
        assert (await c.execute(text("select 1"))).scalar() == 1
        assert await c.run_sync(differences) == []


async def test_what_is_settled_is_not_asked_for_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something is done to it here, or its time is up."""
    clock = 0.0
    monkeypatch.setattr(store.index._settled, "_clock", lambda: clock)
    reads = 0
    read = store._session.read

    async def counted(work: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(work)

    monkeypatch.setattr(store._session, "read", counted)

    async def asks(kind: str, ident: str) -> int:
        before = reads
        assert await store.index.shown(kind, ident) == await store.index.get(kind, ident)
        return reads - before - 1

    ident = str(uuid.uuid4())
    assert await store.index.shown("server", ident) is None
    await store.index.add("server", ident, site="paris", project_id="p", user_id="u")
    assert [await asks("server", ident) for _ in range(3)] == [1, 0, 0]
    assert store.index.settled("server", ident) and not store.index.settled("volume", ident)
    clock += 61
    assert [await asks("server", ident) for _ in range(2)] == [1, 0]
    await store.index.move("server", ident, project_id="q", user_id="u")
    found = await store.index.shown("server", ident)
    assert found is not None and found.project_id == "q"
    before = reads
    assert await store.pairs.to_site("paris", [ident]) == {} and reads == before
    await store.pairs.put(Pair(kind="server", hub_id=ident, site="paris", site_id="there", project_id="q"))
    assert ident in await store.pairs.to_site("paris", [ident])
    assert [await asks("server", ident) for _ in range(2)] == [1, 1], "one with another id at its site"
    await store.index.tombstone("server", ident)
    assert await store.index.shown("server", ident) is None


async def test_a_server_still_being_created_is_never_settled(store: Store) -> None:
    intent = await create(store)
    ident = str(uuid.UUID(intent.id))
    await store.index.add("server", ident, site="paris", project_id="p", user_id="u")
    assert await store.index.shown("server", ident) is not None
    assert not store.index.settled("server", ident)


async def test_no_pair_is_believed_for_seconds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all once there is one."""
    assert await store.pairs.to_hub("paris", ["there"]) == {}
    await store.pairs.put(Pair(kind="image", hub_id="here", site="paris", site_id="there"))
    assert (await store.pairs.to_hub("paris", ["there"]))["there"].hub_id == "here"


async def test_names_of_many_sites_are_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read for a page; afterwards nothing is asked of what has a pair, or is known under its own id."""
    own = [str(uuid.uuid4()) for _ in range(3)]
    for site in ("paris", "tokyo"):
        await store.pairs.put(Pair(kind="image", hub_id=f"hub-{site}", site=site, site_id="same there"))
        await store.index.add("server", own[0] if site == "paris" else own[1], site=site, project_id="p", user_id="u")
    store.pairs._site.clear()
    reads, read = [], store._session.read

    async def counted(work: Any) -> Any:
        reads.append(work)
        return await read(work)

    monkeypatch.setattr(store._session, "read", counted)
    await store.pairs.read_ahead({"paris": ["same there", own[0], own[2]], "tokyo": ["same there", own[1]]})
    assert len(reads) == 1
    found = [await store.pairs.to_hub(site, ["same there", own[n]]) for n, site in enumerate(("paris", "tokyo"))]
    assert [{k: p.hub_id for k, p in f.items()} for f in found] == [{"same there": "hub-paris"}, {"same there": "hub-tokyo"}]
    assert len(reads) == 1
    assert await store.pairs.to_hub("paris", [own[2]]) == {} and len(reads) == 2, "what nobody knows is asked for each time"
    await store.pairs.put(Pair(kind="server", hub_id="north", site="paris", site_id=own[2]))
    assert (await store.pairs.to_hub("paris", [own[2]]))[own[2]].hub_id == "north"
