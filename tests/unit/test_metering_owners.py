"""An administrator reaches what was measured for this cloud's projects, and nothing of a site owner's other tenants."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.api.metering import WHEREABOUTS, bulk_delete, locate
from cascade.api.metering_lists import metric_list
from cascade.api.request import Request
from cascade.model.errors import Fault
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.model.table import find
from cascade.sites.registry import Sites
from cascade.store import Store
from cascade.store.pairs import Pair
from cascade.tables.metric import ROWS
from tests.unit.admin_fake import caller
from tests.unit.test_metering import TENANT, Rig

SHADOW, STRANGER = "5ad0" + "0" * 28, "57a1" + "0" * 28
OURS = {"or": [{"in": {"project_id": [SHADOW]}}, {"=": {"created_by_project_id": SHADOW}}]}
MINE, THEIRS = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"


@pytest.fixture
async def r(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db")
    await store.sites.add(Site(name="paris", number=1, cloud="paris", identity="mapped"))
    await store.pairs.put(Pair(kind="project", hub_id=TENANT, site="paris", site_id=SHADOW))
    sites = Sites(store)
    await sites.reload()
    WHEREABOUTS._known.clear()
    yield Rig(store, sites)
    await store.close()


def asks(method: str, path: str, body: Any = None, roles: str = "admin", **params: str) -> Request:
    raw = b"" if body is None else json.dumps(body).encode()
    req = Request(service="metric", method=method, path=path, params=list(params.items()), headers={}, body=raw,
                  caller=caller(roles, project=TENANT), request_id="r")  # fmt: skip
    req.row, req.match = find(ROWS, method, path) or pytest.fail(path)
    return req


def reply(doc: Any, status: int = 200) -> Reply:
    return Reply("paris", status, {"content-type": "application/json"}, json.dumps(doc).encode())


async def test_all_that_match_are_this_clouds(r: Rig) -> None:
    r.south.answer = lambda *_: reply({"deleted": 1})
    search = {"=": {"ended_at": None}}
    await bulk_delete(r.core, asks("DELETE", "/v1/resource/generic", search))
    assert r.south.asked[-1][2] == {"and": [OURS, search]}


async def test_a_tenants_search_is_left_to_the_sites_policy(r: Rig) -> None:
    r.south.answer = lambda *_: reply({"deleted": 1})
    await bulk_delete(r.core, asks("DELETE", "/v1/resource/generic", {"=": {"ended_at": None}}, roles="member"))
    assert r.south.asked[-1][2] == {"=": {"ended_at": None}}


async def test_an_empty_delete_stays_empty_and_is_refused_there(r: Rig) -> None:
    r.south.answer = lambda *_: reply({"code": 400}, 400)
    await bulk_delete(r.core, asks("DELETE", "/v1/resource/generic"))
    assert r.south.asked[-1][2:] == (None, {})


async def test_a_search_in_words_is_narrowed_in_words(r: Rig) -> None:
    r.south.answer = lambda *_: reply({"deleted": 1})
    await bulk_delete(r.core, asks("DELETE", "/v1/resource/generic", filter="a='x)' or b=2"))
    told = r.south.asked[-1][3]["filter"]
    assert told == f'(a=\'x)\' or b=2) and (project_id in ["{SHADOW}"] or created_by_project_id = "{SHADOW}")'


@pytest.mark.parametrize("words", ["a=1) or (b=2", "((a=1)", "a='1", 'a="1) or (b=2', "a=1)"])
async def test_words_that_would_get_out_are_refused(r: Rig, words: str) -> None:
    with pytest.raises(Fault) as refused:
        await bulk_delete(r.core, asks("DELETE", "/v1/resource/generic", filter=words))
    assert refused.value.status == 400 and r.south.asked == []


async def test_a_sum_is_over_this_clouds_resources(r: Rig) -> None:
    r.south.answer = lambda *_: reply({"measures": {"aggregated": []}})
    await r.aggregate("(aggregate sum (metric cpu mean))", search := {"=": {"ended_at": None}})
    assert r.south.asked[-1][2]["search"] == {"and": [OURS, search]}


@pytest.mark.parametrize(
    "row, shown",
    [
        ({"project_id": SHADOW}, True),
        ({"project_id": STRANGER, "created_by_project_id": SHADOW}, True),
        ({"project_id": None}, True),
        ({"project_id": STRANGER}, False),
        ({"project_id": STRANGER, "created_by_project_id": STRANGER}, False),
    ],
)
async def test_lists_and_single_resources_agree(r: Rig, row: dict[str, Any], shown: bool) -> None:
    r.south.answer = lambda _, path, __: reply({"id": MINE, **row} if MINE in path else [{"id": MINE, **row}])
    listed = json.loads((await metric_list(r.core, asks("GET", "/v1/resource/generic"))).body)
    assert [x["id"] for x in listed] == [MINE] * shown
    if shown:
        assert (await locate(r.core, asks("GET", f"/v1/resource/generic/{MINE}"), "resource", [MINE]))[0] == {MINE: "paris"}
    else:
        with pytest.raises(Fault) as refused:
            await locate(r.core, asks("GET", f"/v1/resource/generic/{MINE}"), "resource", [MINE])
        assert refused.value.status == 404


async def test_a_metric_is_its_resources_owners(r: Rig) -> None:
    def answer(_: str, path: str, doc: Any) -> Reply:
        if path.startswith("/v1/search"):
            wanted = (doc or {}).get("in", {}).get("id", [])
            return reply([{"id": i, "project_id": SHADOW if i == MINE else STRANGER} for i in wanted])
        return reply({"id": path.rpartition("/")[2], "resource_id": MINE if path.endswith(MINE) else THEIRS})

    r.south.answer = answer
    found, _ = await locate(r.core, asks("GET", f"/v1/metric/{MINE}"), "metric", [MINE])
    assert found == {MINE: "paris"}
    with pytest.raises(Fault) as refused:
        await locate(r.core, asks("GET", f"/v1/metric/{THEIRS}"), "metric", [THEIRS])
    assert refused.value.status == 404


async def test_a_metric_that_is_shown_holds_its_resource(r: Rig) -> None:
    """Where a list's row names the resource, one that is shown has the whole of it: an alarm on a metric is found by that."""
    for owner, found in ((SHADOW, True), (STRANGER, False)):
        ident, resource = f"{MINE[:-1]}{'2' if found else '3'}", {"id": THEIRS, "project_id": owner}
        shown = {"id": ident, "created_by_project_id": STRANGER, "resource": resource}
        r.south.answer = lambda _, path, __, s=shown, e=resource: reply([e] if "search" in path else s)
        request = asks("GET", f"/v1/metric/{ident}")
        if found:
            assert (await locate(r.core, request, "metric", [ident]))[0] == {ident: "paris"}
        else:
            with pytest.raises(Fault):
                await locate(r.core, request, "metric", [ident])
