"""Walks in pages over several sites: complete and without doubles, whatever is deleted or forgotten on the way."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.routing.cursor import Cursors
from tests.unit.lists_fake import FakeSite, World, ident, two

ORDERS = (
    (),
    (("sort_key", "display_name"), ("sort_dir", "asc")),
    (("sort_key", "created_at"), ("sort_dir", "asc")),
    (("sort_key", "locked_by"),),
    (("sort_key", "display_name"), ("sort_key", "uuid"), ("sort_dir", "desc")),
)


@st.composite
def worlds(draw: st.DrawFn, *, building: bool) -> World:
    names = draw(st.lists(st.sampled_from(["paris", "tokyo", "oslo"]), unique=True, min_size=1, max_size=3))
    world = World({n: FakeSite(max_limit=draw(st.integers(2, 8))) for n in names})
    numbers = draw(st.lists(st.integers(0, 400), unique=True, max_size=18))
    for n in numbers:
        world.add(
            draw(st.sampled_from(names)), n, draw(st.integers(0, 4)), name=draw(st.sampled_from("abC")),
            building=building and draw(st.booleans()),
        )  # fmt: skip
    world.params = list(draw(st.sampled_from(ORDERS)))
    return world


@settings(deadline=None, max_examples=80)
@given(worlds(building=True), st.integers(1, 7))
def test_walks_are_complete(world: World, limit: int) -> None:
    """Also with build requests in front, pages of a site shorter than asked for, and sort keys no row shows."""
    got = asyncio.run(world.walk(limit))
    assert sorted(got) == sorted(r["id"] for s in world.sites.values() for r in s.rows)
    for fake in world.sites.values():
        mine = [r["id"] for r in fake.listed(world.params)]
        assert [g for g in got if g in mine] == mine


@settings(deadline=None, max_examples=80)
@given(worlds(building=False), st.integers(1, 7))
def test_walks_without_memory_are_complete(world: World, limit: int) -> None:
    """The next page may be asked of another gateway: the index, or the marker row's values, must do."""
    whole = asyncio.run(world.walk(100))
    if ("sort_key", "locked_by") not in world.params or len(world.sites) == 1:
        assert asyncio.run(world.walk(limit, forget=True)) == whole


@settings(deadline=None, max_examples=80)
@given(worlds(building=False), st.integers(1, 4), st.booleans(), st.data())
def test_deleting_while_walking(world: World, limit: int, forget: bool, data: st.DataObject) -> None:
    """Rows taken are deleted and at once forgotten by their site (Cinder does that): the rest comes, once."""
    world.params = []
    every = {r["id"] for s in world.sites.values() for r in s.rows}

    async def walk() -> list[str]:
        got: list[str] = []
        marker: list[tuple[str, str]] = []
        while True:
            page = await world.page(("limit", str(limit)), *marker)
            got += [r.id for r in page.rows]
            if not page.more:
                return got
            marker = [("marker", page.rows[-1].id)]
            for gone in data.draw(st.lists(st.sampled_from(got), unique=True)):
                world.index.dead.add(gone)
                for fake in world.sites.values():
                    fake.rows = [r for r in fake.rows if r["id"] != gone]
            if forget:
                world.cursors = Cursors()

    got = asyncio.run(walk())
    assert sorted(got) == sorted(every)


async def test_a_page_without_memory_costs_one_call_a_site() -> None:
    world = two()
    await world.walk(4, forget=True)
    assert [len(s.calls) for s in world.sites.values()] == [3, 3]


async def test_rows_archived_behind_our_back() -> None:
    """The index still believes in them: steps back through it, then a look from the start."""
    for gone in (3, 12):
        world = World({"paris": FakeSite(), "tokyo": FakeSite()})
        for n in range(40):
            world.add("paris" if n % 2 else "tokyo", n, n)
        first = await world.page(("limit", "30"))
        shown = {r.id for r in first.rows}
        archived = {r.id for r in first.rows[-2 * gone :]}
        for fake in world.sites.values():
            fake.rows = [r for r in fake.rows if r["id"] not in archived]
        rest = await world.page(("marker", first.rows[-1].id))
        assert [r.id for r in rest.rows] == [ident(n) for n in range(9, -1, -1)] and len(shown) == 30
