"""Sites that list as Nova does, for tests of pages over several: build requests in front, markers known until archived."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade.model.errors import SiteUnreachable
from cascade.model.reply import Reply
from cascade.routing import lists
from cascade.routing.cursor import Cursors
from cascade.routing.merge import sort_key
from cascade.routing.rows import Params, sorting, unix
from cascade.routing.streams import Keep

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
    forbids: bool = False
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
    keep: Keep | None = None

    def add(self, site: str, n: int, second: int, *, name: str = "", building: bool = False, project: str = PROJECT) -> str:
        row: dict[str, Any] = {
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
        return str(row["id"])

    async def ask(self, site: str, path: str, params: Params, timeout: float) -> Reply:
        fake = self.sites[site]
        if fake.hangs:
            await asyncio.sleep(3600)
        await asyncio.sleep(0)
        if fake.down:
            raise SiteUnreachable(site, "refused")
        status, doc = (403, {"forbidden": {"code": 403}}) if fake.forbids else fake.answer(path, params)
        return Reply(site, status, {}, json.dumps(doc).encode())

    async def north(self, site: str, ids: Sequence[str]) -> Mapping[str, str]:
        return {}

    async def page(self, *more: tuple[str, str]) -> lists.Page:
        what = lists.Listing(
            service="compute", path=self.path, collection="servers", kind="server", ties=("created_at:desc", "uuid:asc"),
            params=[*self.params, *more], project=PROJECT, owners=self.owners, deadline=self.deadline, keep=self.keep,
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
