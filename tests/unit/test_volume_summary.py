"""``GET /volumes/summary`` over sites: what a tenant has, and of a mapped site's volumes only those of this cloud."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.api.request import Request
from cascade.api.summary import volume_summary
from cascade.conf import load
from cascade.model.errors import SiteUnreachable
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.sites.registry import Sites
from cascade.store import Store
from cascade.store.pairs import Pair
from tests.unit.admin_fake import caller

PROJECT, SHADOW, STRANGER = "7" * 32, "5ad0" + "0" * 28, "57a1" + "0" * 28
STAMP = "11111111-0000-4000-8000-0000000000aa"
OWNER = "os-vol-tenant-attr:tenant_id"
Rows = list[dict[str, Any]]


def volume(number: int, owner: str, size: int, **metadata: str) -> dict[str, Any]:
    return {"id": f"11111111-0000-4000-8000-{number:012x}", OWNER: owner, "size": size, "metadata": metadata}


class South:
    """Cinders: a sum over everybody whatever is asked, and lists of two rows a page."""

    def __init__(self, sites: dict[str, Rows]) -> None:
        self.sites, self.asked, self.away = sites, [], set()  # type: dict[str, Rows], list[tuple[str, str]], set[str]
        self.shadow = SimpleNamespace(project=self._project)

    async def _project(self, site: str, project: str) -> str:
        return SHADOW

    def base_urls(self, target: str) -> dict[str, str]:
        return {}

    async def call(self, target: str, service: str, method: str, path: str, **more: Any) -> Reply:
        self.asked.append((target, path))
        rows, params = self.sites[target], dict(more["params"])
        doc: dict[str, Any]
        if path == "/volumes/summary":
            values: dict[str, list[str]] = {}
            for row in rows:
                for key, value in row["metadata"].items():
                    values.setdefault(key, []).append(value)
            doc = {"volume-summary": {"total_size": sum(r["size"] for r in rows), "total_count": len(rows), "metadata": values}}
        else:
            if target in self.away:
                raise SiteUnreachable(target, "gone")
            at = next((n + 1 for n, r in enumerate(rows) if r["id"] == params.get("marker")), 0)
            doc = {"volumes": rows[at : at + 2]}
            if at + 2 < len(rows):
                doc["volumes_links"] = [{"rel": "next", "href": "http://site/"}]
        return Reply(target, 200, {"content-type": "application/json"}, json.dumps(doc).encode())


Ask = Callable[..., Any]
PARIS = [
    volume(1, SHADOW, 1, colour="red", cascade=STAMP), volume(2, STRANGER, 100, colour="theirs"), volume(3, STRANGER, 100),
    volume(4, SHADOW, 2, cascade="a user's own"), volume(5, SHADOW, 4),
]  # fmt: skip
OSAKA = [volume(6, PROJECT, 8, colour="blue"), volume(7, "8" * 32, 16)]


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Any]:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db")
    await store.sites.add(Site(name="paris", number=1, cloud="paris", identity="mapped"))
    await store.sites.add(Site(name="osaka", number=2, cloud="osaka", identity="shared"))
    await store.pairs.put(Pair(kind="project", hub_id=PROJECT, site="paris", site_id=SHADOW))
    for site in ("paris", "osaka"):
        await store.index.add("volume", f"at-{site}", site=site, project_id=PROJECT, user_id="u")
    sites = Sites(store)
    await sites.reload()
    yield SimpleNamespace(conf=load([], []), store=store, sites=sites, south=South({"paris": PARIS, "osaka": OSAKA}))
    await store.close()


async def asked(core: Any, role: str, version: str = "3.36", **params: str) -> tuple[dict[str, Any], dict[str, str]]:
    req = Request(service="volume", method="GET", path="/volumes/summary", params=list(params.items()), headers={}, body=b"",
                  caller=caller(role, project=PROJECT), request_id="r", version=version)  # fmt: skip
    got = await volume_summary(core, req)
    return json.loads(got.body)["volume-summary"], dict(got.headers)


async def test_of_all_projects_a_site_owners_own_are_not_counted(core: Any) -> None:
    total, _ = await asked(core, "admin", all_tenants="1")
    assert (total["total_size"], total["total_count"]) == (1 + 2 + 4 + 8 + 16, 5)
    assert total["metadata"] == {"colour": ["blue", "red"], "cascade": ["a user's own"]}
    assert [path for site, path in core.south.asked if site == "osaka"] == ["/volumes/summary"]


@pytest.mark.parametrize(("role", "params"), [("admin", {}), ("admin", {"all_tenants": "0"}), ("member", {"all_tenants": "1"})])
async def test_else_a_sites_own_sum_is_taken(core: Any, role: str, params: dict[str, str]) -> None:
    total, _ = await asked(core, role, **params)
    assert total["total_count"] == len(PARIS) + len(OSAKA)  # this Cinder does not tell projects apart: the real ones do
    assert total["metadata"] == {"colour": ["blue", "red", "theirs"], "cascade": ["a user's own"]}
    assert {path for _, path in core.south.asked} == {"/volumes/summary"}


async def test_before_3_36_there_is_no_metadata(core: Any) -> None:
    total, _ = await asked(core, "admin", "3.12", all_tenants="1")
    assert total == {"total_size": 31, "total_count": 5}


async def test_a_site_that_goes_while_it_is_counted_is_named(core: Any) -> None:
    core.south.away = {"paris"}
    total, headers = await asked(core, "admin", all_tenants="True")
    assert total["total_count"] == len(OSAKA) and headers["X-Cascade-Missing-Zones"] == "paris"
