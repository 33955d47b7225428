"""One page over several sites: who is asked, what is shown, what is said of those that do not answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cascade.model.errors import NativeFault, SiteError
from cascade.routing import lists
from cascade.routing.rows import Params, sorting
from tests.unit.lists_fake import PROJECT, FakeSite, World, ident, two


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
    assert sum(int(p["limit"]) for s in world.sites.values() for _, p in s.calls[:1]) <= 2000
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
    href = lists.next_href(
        "https://api/compute/v2.1/servers", [("limit", "2"), ("marker", "x"), ("name", "a b&c"), ("offset", "3")], "y"
    )
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


async def test_one_sites_refusal_is_named_and_all_sites_refusal_is_the_answer() -> None:
    world = two()
    world.sites["tokyo"].forbids = True
    page = await world.page()
    assert set(page.failed) == {"tokyo"} and page.rows and all(r.site == "paris" for r in page.rows)
    world.sites["paris"].forbids = True
    with pytest.raises(NativeFault) as refused:
        await world.page()
    assert refused.value.status == 403


@pytest.mark.parametrize("path", ["/servers", "/servers/detail"])
async def test_every_projects_rows_are_ours_even_from_one_site(path: str) -> None:
    """The site's owner has tenants too: pages stay full without them, and short rows are judged by their details."""
    world = World({"paris": FakeSite()}, path=path)
    for n in range(40):
        world.add("paris", n, n, project=PROJECT if n % 4 == 0 else "b" * 32)

    async def keep(site: str, rows: Sequence[lists.Row]) -> list[lists.Row]:
        return [r for r in rows if r.owner == PROJECT]

    world.keep = keep
    assert await world.walk(3) == [ident(n) for n in range(36, -1, -4)]


async def test_a_limit_of_many_digits_is_no_reason_to_ask_one_site_only() -> None:
    assert len((await two().page(("limit", "9" * 30))).rows) == 10
