"""How the calls of /metric grow with sites: what is known costs one, a list one of each, a mean two of each."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from cascade.api.metering import zonal
from cascade.api.metering_aggregates import aggregates
from cascade.api.metering_lists import metric_list
from cascade.api.request import Request, Response
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.model.table import Kind, Row
from cascade.sites.registry import Sites
from cascade.store import Store
from cascade.store.pairs import Pair
from tests.unit.admin_fake import caller
from tests.unit.test_metering import TENANT, Rig, South, said

JSON = {"content-type": "application/json"}


class Every(South):
    """Any number of sites, each with one row of its own."""

    async def project_id(self, target: str, who: Any) -> str | None:
        return TENANT


async def rig(tmp_path: Path, sites: int) -> Rig:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db")
    for number in range(sites):
        await store.sites.add(Site(name=f"s{number:03}", number=number + 1, cloud=f"s{number:03}", identity="mapped"))
        await store.pairs.put(
            Pair(kind="project", hub_id=TENANT, site=f"s{number:03}", site_id=f"{number:032x}", project_id=TENANT)
        )
    known = Sites(store)
    await known.reload()
    r = Rig(store, known)
    r.core.south = r.south = Every()
    return r


def request(method: str, path: str, *, body: Any = None, row: Row | None = None, **match: str) -> Request:
    return Request(service="metric", method=method, path=path, params=[], headers={}, row=row, match=match, request_id="r",
                   body=b"" if body is None else json.dumps(body).encode(), caller=caller("member", project=TENANT))  # fmt: skip


async def _calls(r: Rig, work: Any, req: Request) -> int:
    r.south.asked.clear()
    got: Response = await work(r.core, req)
    assert got.status == 200, got.body
    return len(r.south.asked)


@pytest.mark.parametrize("sites", [1, 2, 10, 100])
async def test_calls_grow_with_sites_and_with_nothing_else(tmp_path: Path, sites: int) -> None:
    r = await rig(tmp_path, sites)
    ident = str(uuid.uuid4())
    listing = Row(pattern="", kind=Kind.ZONAL_LIST, resource="resource", handler="metric_list", ties=("id:asc",))
    one = Row(pattern="", kind=Kind.ZONAL, resource="resource", handler="metric_zonal")

    def answer(site: str, path: str, doc: Any) -> Reply:
        if path.endswith(ident):
            return Reply(site, 200, JSON, json.dumps({"id": ident}).encode()) if site == "s000" else Reply(site, 404, JSON, b"{}")
        return said(1.0) if path.endswith("aggregates") else Reply(site, 200, JSON, json.dumps([{"id": site}] * 10).encode())

    r.south.answer = answer
    shown = request("GET", f"/v1/resource/generic/{ident}", row=one, id=ident, type="generic")
    assert [await _calls(r, zonal, shown) for _ in range(2)] == [sites + 1, 1]
    assert await _calls(r, metric_list, request("GET", "/v1/resource/generic", row=listing, type="generic")) == sites
    for how, each in {"sum": 1, "mean": 2, "std": 3}.items():
        body = {
            "operations": f"(aggregate {how} (metric cpu mean))",
            "resource_type": "instance",
            "search": {"=": {"user_id": "u"}},
        }
        calls = await _calls(r, aggregates, request("POST", "/v1/aggregates", body=body))
        assert calls == (1 if sites == 1 else each * sites)  # one site alone is asked for the thing itself
    await r.core.store.close()
