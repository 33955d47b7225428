"""``cascade rebuild``: lists longer than a page, rows that go meanwhile, second copies, sites that answer half."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import BadReply
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.reconcile import pages
from cascade.reconcile.rebuild import Rebuild
from cascade.store import Store

PARIS = Site(name="paris", number=1, cloud="paris", identity="shared")


def reply_of(status: int, doc: Any) -> Reply:
    """An answer of paris."""
    return Reply("paris", status, {}, json.dumps(doc).encode())


class South:
    """A site's lists, by path; pages as Nova, Cinder and Neutron make them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"/servers/detail": [], "/v2/images": []}
        self.own_limit = 1000
        self.longest = 0
        self.lists: list[str] = []
        self.gone: dict[str, str] = {}
        """Marker -> the row that goes before it is used."""
        self.heeds_markers = True

    async def call(self, target: str, service: str, method: str, path: str, *, params: Any = (), **_: Any) -> Reply:
        asked = dict(params)
        self.lists.append(path)
        rows, marker = self.rows.get(path), asked.get("marker")
        if rows is None:
            return reply_of(404, {})
        key = {"/v2/images": "images"}.get(path) or path.removeprefix("/v2.0/").removesuffix("/detail").strip("/").replace("-", "_")
        if marker in self.gone:
            rows[:] = [r for r in rows if r["id"] != self.gone[marker]]
        if marker is not None and self.heeds_markers:
            at = next((n for n, r in enumerate(rows) if r["id"] == marker), None)
            if at is None:
                return reply_of(404, {})
            rows = rows[at + 1 :]
        limit = min(int(asked.get("limit", "9999")), self.own_limit)
        page = rows[:limit]
        self.longest = max(self.longest, len(page))
        links = [{"rel": "previous", "href": "x"}] if marker else []
        links += [{"rel": "next", "href": "x"}] if len(rows) > limit else []
        return reply_of(200, {key: page, **({f"{key.removesuffix('s')}_links": links} if links else {})})


def port(n: int, **more: Any) -> dict[str, Any]:
    """A copy of the hub's port ``hub-n``."""
    return {"id": f"site-{n:04}", "description": f"cascade:hub-{n:04}", "project_id": "p", **more}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty database."""
    found = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/r.db")
    yield found
    await found.close()


async def ports(store: Store) -> dict[str, str]:
    """hub id -> site id of the ports that are paired."""
    return {p.hub_id: p.site_id for p in await store.pairs.all("port", "paris")}


async def rebuilt(store: Store, south: South) -> Any:
    """What the site gave."""
    made: Any = (store, south, None)
    return await Rebuild(*made).site(PARIS)


async def test_ports_come_in_pages(store: Store) -> None:
    """Ten thousand ports are no one answer; each is paired once, the site's own are left alone."""
    south = South()
    south.rows["/v2.0/ports"] = [port(n) if n % 7 else port(n, description="") for n in range(1750)]
    found = await rebuilt(store, south)
    assert south.longest == pages.PAGE
    assert await ports(store) == {f"hub-{n:04}": f"site-{n:04}" for n in range(1750) if n % 7}
    assert found.pairs == 1500 and found.spare == []
    assert (await rebuilt(store, south)).pairs == 1500  # may be repeated


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_site_with_a_lower_limit(store: Store, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shorter than what was asked for is not the last where the site names a next one."""
    monkeypatch.setattr(pages, "PAGE", 4)
    south = South()
    south.own_limit = limit
    south.rows["/v2.0/ports"] = [port(n) for n in range(10)]
    await rebuilt(store, south)
    assert len(await ports(store)) == 10


async def test_a_list_that_ignores_markers_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same page for ever."""
    monkeypatch.setattr(pages, "PAGE", 4)
    south = South()
    south.heeds_markers = False
    south.rows["/v2.0/ports"] = [port(n) for n in range(4)]
    async with asyncio.timeout(10):
        await rebuilt(store, south)
    assert len(await ports(store)) == 4 and south.lists.count("/v2.0/ports") == 2


async def test_a_marker_that_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row deleted between two pages takes no others with it."""
    monkeypatch.setattr(pages, "PAGE", 4)
    south = South()
    south.rows["/v2.0/ports"] = [port(n) for n in range(10)]
    south.gone = {"site-0003": "site-0003", "site-0002": "site-0002"}
    await rebuilt(store, south)
    assert len(await ports(store)) == 10
    assert [r["id"] for r in south.rows["/v2.0/ports"]] == [f"site-{n:04}" for n in (0, 1, 4, 5, 6, 7, 8, 9)]


async def test_half_a_list_is_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second page fails the site is reported, not taken for rebuilt."""
    south, call = South(), South.call

    async def broken(self: South, target: str, service: str, method: str, path: str, **more: Any) -> Reply:
        if "marker" in dict(more.get("params") or ()):
            return reply_of(503, {})
        return await call(self, target, service, method, path, **more)

    monkeypatch.setattr(South, "call", broken)
    south.rows["/v2.0/ports"] = [port(n) for n in range(pages.PAGE + 1)]
    with pytest.raises(BadReply):
        await rebuilt(store, south)


async def test_a_second_copy_is_left_alone(store: Store) -> None:
    """On one page and on two: the first stays."""
    south = South()
    south.rows["/v2.0/ports"] = [port(n) for n in range(pages.PAGE)]
    south.rows["/v2.0/ports"] += [port(0, id="site-again"), port(pages.PAGE), port(pages.PAGE, id="site-more")]
    found = await rebuilt(store, south)
    assert found.spare == ["port site-again", "port site-more"] and found.pairs == pages.PAGE + 1
    assert (await ports(store))["hub-0000"] == "site-0000"
