"""Pages over several sites: complete and without doubles, whatever is deleted, forgotten, slow or dead on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.model.errors import NativeFault, SiteError, SiteUnreachable
from cascade.model.reply import Reply
from cascade.routing import lists
from cascade.routing.cursor import Cursors
from cascade.routing.merge import sort_key
from cascade.routing.rows import Params, sorting, unix

PROJECT = "a" * 32


def ident(n: int) -> str:
    return f"{n:08x}-0000-4000-8000-{n:012x}"


def created(second: int) -> str:
    return f"2026-11-23T08:{second // 60:02d}:{second % 60:02d}Z"


@dataclass
class Entry:
    id: str
    site: str
    project_id: str
    created: float | None


@dataclass
class FakeIndex:
    rows: dict[str, Entry] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    async def get(self, kind: str, id: str, deleted: bool = False) -> Entry | None:
        return self.rows.get(id) if deleted or id not in self.dead else None

    async def preceding(self, kind: str, site: str, project_id: str | None, at: float, id: str, tie: str = "asc") -> Entry | None:
        sign = 1 if tie == "asc" else -1
        place = (-at, [sign * ord(c) for c in id])
        known = [((-e.created, [sign * ord(c) for c in e.id]), e) for e in self.rows.values()
                 if e.site == site and e.created is not None and e.id not in self.dead]  # fmt: skip
        earlier = [(k, e) for k, e in known if k <= place]
        return max(earlier, key=lambda x: x[0])[1] if earlier else None

    async def set_created(self, kind: str, created: Mapping[str, float]) -> None:
        for key, at in created.items():
            if key in self.rows:
                self.rows[key].created = at


@dataclass
class FakeSite:
    """A Nova: build requests first, then sorted; markers by id, known until archived."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    building: set[str] = field(default_factory=set)
    archived: dict[str, dict[str, Any]] = field(default_factory=dict)
    max_limit: int = 1000
    down: bool = False
    hangs: bool = False
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def listed(self, params: Params) -> list[dict[str, Any]]:
        key = sort_key(sorting("compute", params, ("created_at:desc", "uuid:asc"))[0])
        return sorted(self.rows, key=lambda r: (r["id"] not in self.building, key(r)))

    def answer(self, path: str, params: Params) -> tuple[int, Any]:
        asked = dict(params)
        self.calls.append((path, asked))
        if not path.startswith("/servers") or asked.get("sort_key") == "nonsense":
            return 400, {"badRequest": {"code": 400, "message": "Invalid input for query parameters sort_key."}}
        if path not in ("/servers", "/servers/detail"):
            row = next((r for r in self.rows if r["id"] == path.rpartition("/")[2]), None)
            return (200, {"server": row}) if row else (404, {"itemNotFound": {}})
        rows = self.listed(params)
        if "marker" in asked:
            at = next((i for i, r in enumerate(rows) if r["id"] == asked["marker"]), None)
            if at is None:
                return 400, {"badRequest": {"code": 400, "message": f"marker [{asked['marker']}] not found"}}
            rows = rows[at + 1 :]
        limit = min(int(asked.get("limit", self.max_limit)), self.max_limit)
        out = rows[:limit]
        if path == "/servers":
            out = [{k: r[k] for k in ("id", "name", "links")} for r in out]
        doc: dict[str, Any] = {"servers": out}
        if len(out) == limit and limit:
            doc["servers_links"] = [{"rel": "next", "href": "http://x"}]
        return 200, doc


@dataclass
class World:
    sites: dict[str, FakeSite]
    index: FakeIndex = field(default_factory=FakeIndex)
    cursors: Cursors = field(default_factory=Cursors)
    path: str = "/servers/detail"
    params: list[tuple[str, str]] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    deadline: float = 5.0
    away: list[str] = field(default_factory=list)

    def add(self, site: str, n: int, second: int, *, name: str = "", building: bool = False, project: str = PROJECT) -> str:
        row = {
            "id": ident(n),
            "name": name or f"vm{n}",
            "links": [],
            "created": created(second),
            "tenant_id": project,
            "x": {"k": [1]},
        }
        self.sites[site].rows.append(row)
        if building:
            self.sites[site].building.add(row["id"])
        self.index.rows[row["id"]] = Entry(row["id"], site, PROJECT, unix(row["created"]))
        return row["id"]

    async def ask(self, site: str, path: str, params: Params, timeout: float) -> Reply:
        fake = self.sites[site]
        if fake.hangs:
            await asyncio.sleep(3600)
        await asyncio.sleep(0)
        if fake.down:
            raise SiteUnreachable(site, "refused")
        status, doc = fake.answer(path, params)
        return Reply(site, status, {}, json.dumps(doc).encode())

    async def north(self, site: str, ids: Sequence[str]) -> Mapping[str, str]:
        return {}

    async def page(self, *more: tuple[str, str]) -> lists.Page:
        what = lists.Listing(
            service="compute", path=self.path, collection="servers", kind="server", ties=("created_at:desc", "uuid:asc"),
            params=[*self.params, *more], project=PROJECT, owners=self.owners, deadline=self.deadline,
        )  # fmt: skip
        asked = [s for s in self.sites if s not in self.away]
        return await lists.page(what, asked, away=self.away, ask=self.ask, north=self.north, index=self.index, cursors=self.cursors)

    async def walk(self, limit: int, *, forget: bool = False) -> list[str]:
        got: list[str] = []
        marker: list[tuple[str, str]] = []
        while True:
            page = await self.page(("limit", str(limit)), *marker)
            assert not page.failed and len(page.rows) <= limit
            got += [r.id for r in page.rows]
            if not page.more:
                return got
            assert page.rows and len(got) < 500
            marker = [("marker", page.rows[-1].id)]
            if forget:
                self.cursors = Cursors()


def two() -> World:
    world = World({"paris": FakeSite(), "tokyo": FakeSite()})
    for n in range(10):
        world.add("paris" if n % 3 else "tokyo", n, n)
    return world


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


async def test_one_site_passes_through() -> None:
    world = World({"paris": FakeSite()}, path="/servers")
    last = [world.add("paris", n, n) for n in range(5)][-1]
    page = await world.page(("limit", "2"), ("marker", last))
    assert world.sites["paris"].calls == [("/servers", {"limit": "2", "marker": last})]
    assert page.reply is not None and page.more and [r.id for r in page.rows] == [ident(3), ident(2)]


async def test_short_rows_of_several_sites() -> None:
    world = two()
    world.path = "/servers"
    page = await world.page()
    assert json.loads(bytes(page.rows[0].raw)) == {"id": ident(9), "name": "vm9", "links": []}
    assert not page.more and len(page.rows) == 10


async def test_rows_are_the_sites_own_bytes() -> None:
    world = two()
    page = await world.page()
    assert json.loads(bytes(page.rows[0].raw)) == next(r for r in world.sites["tokyo"].rows if r["id"] == ident(9))


@pytest.mark.parametrize("how", ["down", "hangs"])
async def test_a_dead_site_is_named_and_its_place_kept(how: str) -> None:
    world = two()
    first = await world.page(("limit", "3"))
    setattr(world.sites["tokyo"], how, True)
    world.deadline = 0.4
    second = await world.page(("limit", "3"), ("marker", first.rows[-1].id))
    assert set(second.failed) == {"tokyo"} and all(r.site == "paris" for r in second.rows)
    setattr(world.sites["tokyo"], how, False)
    rest = await world.page(("marker", second.rows[-1].id))
    assert sorted(r.id for p in (first, second, rest) for r in p.rows) == [ident(n) for n in range(10)]


async def test_a_site_known_to_be_away_is_not_asked() -> None:
    world = two()
    first = await world.page(("limit", "3"))
    world.away = ["tokyo"]
    second = await world.page(("limit", "3"), ("marker", first.rows[-1].id))
    assert set(second.failed) == {"tokyo"} and len(world.sites["tokyo"].calls) == 1
    world.away = []
    rest = await world.page(("marker", second.rows[-1].id))
    assert sorted(r.id for p in (first, second, rest) for r in p.rows) == [ident(n) for n in range(10)]
    world.away = ["paris", "tokyo"]
    nothing = await world.page()
    assert set(nothing.failed) == {"paris", "tokyo"} and nothing.rows == [] and not nothing.more


async def test_markers_nobody_knows() -> None:
    world = two()
    for marker in (ident(999), "../os-keypairs", "x"):
        with pytest.raises(lists.UnknownMarker):
            await world.page(("marker", marker))
    world.index.rows[ident(5)].project_id = "b" * 32
    with pytest.raises(lists.UnknownMarker):
        await world.page(("marker", ident(5)))
    assert all(".." not in path for s in world.sites.values() for path, _ in s.calls)
    world.sites["paris"].down = True
    with pytest.raises(SiteError):
        await world.page(("marker", ident(998)))


async def test_a_marker_the_index_missed_is_read_again() -> None:
    world = two()
    del world.index.rows[ident(5)]
    page = await world.page(("marker", ident(5)))
    assert [r.id for r in page.rows] == [ident(n) for n in (4, 3, 2, 1, 0)]


async def test_a_marker_of_another_site_than_the_one_left() -> None:
    world = two()
    del world.sites["tokyo"]
    page = await world.page(("marker", ident(6)))
    assert [r.id for r in page.rows] == [ident(n) for n in (5, 4, 2, 1)]


async def test_a_refusal_is_the_sites_own() -> None:
    for world in (two(), World({"paris": FakeSite()})):
        with pytest.raises(NativeFault) as e:
            await world.page(("sort_key", "nonsense"))
        assert e.value.status == 400 and b"sort_key" in e.value.body


async def test_foreign_rows_never_pass() -> None:
    world = two()
    world.owners = {"paris": PROJECT, "tokyo": PROJECT}
    world.add("tokyo", 77, 1, project="b" * 32)
    page = await world.page()
    assert page.foreign == 1 and ident(77) not in {r.id for r in page.rows} and len(page.rows) == 10


async def test_many_sites_are_read_in_small_parts() -> None:
    world = World({f"s{i:03d}": FakeSite() for i in range(100)})
    n = 0
    for site in world.sites:
        for _ in range(3):
            world.add(site, n, n % 3000)
            n += 1
    for _ in range(400):
        world.add("s000", n, n % 3000)
        n += 1
    page = await world.page()
    assert len(page.rows) == 700 and [r.created for r in page.rows] == sorted((r.created for r in page.rows), reverse=True)  # type: ignore[type-var]
    assert sum(int(p["limit"]) for s in world.sites.values() for _, p in s.calls[:1]) <= 8000
    assert max(len(s.calls) for s in world.sites.values()) <= 5


async def test_a_site_that_ignores_markers_ends() -> None:
    class Stuck(FakeSite):
        def answer(self, path: str, params: Params) -> tuple[int, Any]:
            return super().answer(path, [(k, v) for k, v in params if k != "marker"])

    world = World({"paris": Stuck(max_limit=2), "tokyo": FakeSite()})
    for n in range(6):
        world.add("paris" if n % 2 else "tokyo", n, n)
    page = await world.page()
    assert [r.id for r in page.rows] == [ident(n) for n in (5, 4, 3, 2, 0)]


async def test_the_index_learns_times() -> None:
    world = two()
    for entry in world.index.rows.values():
        entry.created = None
    page = await world.page(("limit", "4"))
    assert sum(e.created is not None for e in world.index.rows.values()) == len(page.rows)


def test_next_links() -> None:
    href = lists.next_href("https://api/compute/v2.1/servers", [("limit", "2"), ("marker", "x"), ("name", "a b&c")], "y")
    assert href == "https://api/compute/v2.1/servers?limit=2&name=a+b%26c&marker=y"


@pytest.mark.parametrize(
    ("service", "params", "fields", "default"),
    [
        ("compute", [], ["-created", "id"], True),
        ("compute", [("sort_key", "created_at")], ["-created", "id"], True),
        ("compute", [("sort_key", "vcpus"), ("sort_dir", "asc")], ["-created", "id"], True),
        ("compute", [("sort_key", "display_name"), ("sort_dir", "asc"), ("sort_key", "uuid")], ["name", "id"], False),
        ("compute", [("sort_dir", "asc")], ["created", "id"], False),
        ("volume", [], ["-created_at", "-id"], True),
        ("volume", [("sort", "name:asc,size")], ["name", "-size", "created_at", "id"], False),
        ("volume", [("sort_key", "size"), ("sort_dir", "desc")], ["-size", "-created_at", "-id"], False),
    ],
)
def test_orders(service: str, params: Params, fields: list[str], default: bool) -> None:
    ties = ("created_at:desc", "uuid:asc") if service == "compute" else ("created_at:desc", "id:desc")
    orders, is_default = sorting(service, params, ties)
    assert ["-" * o.descending + o.field for o in orders] == fields and is_default is default


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
