"""/metric over two sites, each a table of answers: what is asked of whom, and what is made of it."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cascade.api.metering import WHEREABOUTS, locate
from cascade.api.metering_aggregates import aggregates
from cascade.api.metering_lists import metric_list
from cascade.api.request import Request
from cascade.conf import load
from cascade.model.errors import BadReply, Fault
from cascade.model.reply import Reply
from cascade.model.site import HUB, Site
from cascade.model.table import Kind, Row
from cascade.reconcile.metering import catch_up, note
from cascade.sites.registry import Sites
from cascade.store import Store
from tests.unit.admin_fake import caller

HERE = "5e41ce00000000000000000000000000"
"""The cloud's own service project."""
TENANT = "7e4a4700000000000000000000000000"
SERVICE = {HUB: HERE, "paris": "5e41ce00000000000000000000000001", "tokyo": "5e41ce00000000000000000000000002"}
Answer = Callable[[str, str, Any], Reply]


class South:
    """Every site with a Gnocchi, which says what the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        self.answer: Answer = lambda *_: Reply("", 404, {}, b"{}")

    async def call(
        self, target: str, service: str, method: str, path: str, *, body: bytes = b"", params: Any = (), **more: Any
    ) -> Reply:
        doc = json.loads(body) if body else more.get("json")
        self.asked.append((target, path, doc, dict(params)))
        return self.answer(target, path, doc)

    def base_urls(self, target: str) -> Mapping[str, str]:
        return {"metric": f"http://{target}:8041"}

    async def project_id(self, target: str, who: Any) -> str | None:
        return SERVICE[target]


class Rig:
    def __init__(self, store: Store, sites: Sites) -> None:
        self.south = South()
        self.core: Any = SimpleNamespace(conf=load([], []), store=store, sites=sites, south=self.south)

    async def aggregate(self, operations: str, search: Any = None, **params: str) -> Any:
        body = {"operations": operations, "resource_type": "instance", "search": search or {"=": {"ended_at": None}}}
        req = Request(service="metric", method="POST", path="/v1/aggregates", params=list(params.items()), headers={},
                      body=json.dumps(body).encode(), caller=caller("admin", project=TENANT), request_id="r")  # fmt: skip
        return json.loads((await aggregates(self.core, req)).body)


@pytest.fixture
async def r(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path}/t.db")
    for number, name in enumerate(("paris", "tokyo"), 1):
        await store.sites.add(Site(name=name, number=number, cloud=name, identity="mapped"))
    sites = Sites(store)
    await sites.reload()
    WHEREABOUTS._known.clear()
    yield Rig(store, sites)
    await store.close()


def said(value: float, **more: Any) -> Reply:
    measures = {"aggregated": [["2026-11-24T00:00:00+00:00", 60.0, value]]}
    return Reply("", 200, {"content-type": "application/json"}, json.dumps({"measures": measures, **more}).encode())


async def test_an_alarms_question_is_answered_over_sites(r: Rig) -> None:
    """Aodh always asks with ``needed_overlap=0`` between two times: what has points counts."""
    r.south.answer = lambda site, _, doc: said({"paris": 10.0, "tokyo": 2.0}[site] if "sum" in doc["operations"] else 2.0)
    bounds = {"start": "2026-11-24T00:00:00", "stop": "2026-11-24T01:00:00", "details": "False", "use_history": "False"}
    got = await r.aggregate("(aggregate mean (metric cpu mean))", needed_overlap="0", **bounds)
    assert got["measures"]["aggregated"] == [["2026-11-24T00:00:00+00:00", 60.0, 3.0]]
    assert len(r.south.asked) == 4  # sum and count of both


@pytest.mark.parametrize(
    "params",
    [
        {"needed_overlap": "0"},
        {"needed_overlap": "0", "start": "2026-11-24T00:00:00"},
        {"needed_overlap": "50", "start": "2026-11-24T00:00:00", "stop": "2026-11-24T01:00:00"},
        {"needed_overlap": "x", "start": "2026-11-24T00:00:00", "stop": "2026-11-24T01:00:00"},
        {"fill": "0"},
        {"use_history": "true"},
    ],
)
async def test_what_needs_all_series_at_one_place_is_refused(r: Rig, params: dict[str, str]) -> None:
    r.south.answer = lambda *_: said(1.0)
    with pytest.raises(Fault) as refused:
        await r.aggregate("(aggregate mean (metric cpu mean))", **params)
    assert refused.value.status == 400


ROWS = {
    # site -> revisions: a resource's id, when it began (the last one has no end), the number no row shows
    "paris": [("a", "2026-11-24T00:00:01", 7), ("a", "2026-11-24T00:00:03", -1)],
    "tokyo": [("b", "2026-11-24T00:00:02", 4), ("b", "2026-11-24T00:00:04", -1)],
}


def history(site: str, path: str, params: Mapping[str, str]) -> Reply:
    """As Gnocchi pages a history: the number of the last revision stands in the link alone."""
    rows = ROWS[site]
    if not path.endswith("/generic") and rows[0][0] not in path.split("/"):
        return Reply(site, 404, {}, b"{}")
    if mark := params.get("marker"):
        marked = [f"{i}@{revision}" for i, _, revision in rows]
        if mark not in marked:
            return Reply(site, 400, {"content-type": "application/json"}, b"{}")
        rows = rows[marked.index(mark) + 1 :]
    page = rows[: int(params.get("limit", "1000"))]
    headers = {"content-type": "application/json"}
    if len(page) == int(params.get("limit", "1000")):
        headers["link"] = f'<http://{site}:8041{path}?marker={page[-1][0]}%40{page[-1][2]}>; rel="next"'
    doc = [{"id": i, "revision_start": at, "revision_end": None if number == -1 else "later"} for i, at, number in page]
    return Reply(site, 200, headers, json.dumps(doc if path.endswith(("/generic", "/history")) else doc[-1]).encode())


async def test_a_history_is_paged_by_its_links(r: Rig) -> None:
    """Markers are Gnocchi's own, and the page goes on at every site behind the one they name."""
    seen, marks = [], []
    mark: str | None = None
    row = Row(pattern="", kind=Kind.ZONAL_LIST, resource="resource", handler="metric_list", ties=("revision_start:asc",))
    while True:
        params = [("history", "true"), ("limit", "1"), *([("marker", mark)] if mark else [])]
        r.south.answer = lambda site, path, _: history(site, path, r.south.asked[-1][3])
        req = Request(service="metric", method="GET", path="/v1/resource/generic", params=params, headers={}, row=row,
                      caller=caller("admin", project=TENANT), request_id="r")  # fmt: skip
        got = await metric_list(r.core, req)
        seen += [(one["id"], one["revision_start"]) for one in json.loads(got.body)]
        if "Link" not in got.headers:
            break
        (mark,) = parse_qs(urlsplit(got.headers["Link"].strip("<").partition(">")[0]).query)["marker"]
        marks.append(mark)
    assert marks == ["a@7", "b@4", "a@-1", "b@-1"]
    assert seen == sorted(((i, at) for rows in ROWS.values() for i, at, _ in rows), key=lambda one: one[1])


@pytest.mark.parametrize("then", [Reply("", 404, {}, b"{}"), Reply("", 200, {"content-type": "application/json"}, b"[]")])
async def test_a_history_that_changes_under_the_reader_is_the_sites_failure(r: Rig, then: Reply) -> None:
    """Deleted or trimmed between the list and the look for its last row's number: no page with a wrong link, and no 500."""
    row = Row(pattern="", kind=Kind.ZONAL_LIST, resource="resource", handler="metric_list", ties=("revision_start:asc",))
    r.south.answer = lambda site, path, _: then if path.endswith("/history") else history(site, path, r.south.asked[-1][3])
    req = Request(service="metric", method="GET", path="/v1/resource/generic", params=[("history", "true"), ("limit", "1")],
                  headers={}, row=row, caller=caller("admin", project=TENANT), request_id="r")  # fmt: skip
    with pytest.raises(BadReply):
        await metric_list(r.core, req)


async def test_a_write_that_a_site_missed_is_made_before_it_is_asked_again(r: Rig) -> None:
    r.south.answer = lambda *_: Reply("", 201, {}, b"{}")
    await catch_up(r.core.store, r.core.south, "paris")
    await note(r.core.store, "paris", "POST", "/v1/archive_policy", {"name": "x"})
    await catch_up(r.core.store, r.core.south, "paris")
    assert [(site, path) for site, path, _, _ in r.south.asked] == [("paris", "/v1/archive_policy")]


async def test_the_sites_own_ceilometer_made_what_the_service_project_made(r: Rig) -> None:
    """A tenant's alarm asks for what the cloud's service project made for him: at a site that is another project."""
    r.south.answer = lambda site, _, doc: said(1.0, references=[{"created_by_project_id": SERVICE[site], "id": site}])
    mine: dict[str, Any] = {"=": {"created_by_project_id": HERE}}
    got = await r.aggregate("(aggregate max (metric cpu mean))", {"and": [mine, {"=": {"project_id": TENANT}}]}, details="true")
    for site, _, doc, _ in r.south.asked:
        _, asked = doc["search"]["and"]  # the first: what an administrator may see there
        first, second = asked["and"]
        assert first == {"or": [mine, {"=": {"created_by_project_id": SERVICE[site]}}]} and "project_id" in second["="]
    assert [row["created_by_project_id"] for row in got["references"]] == [HERE, HERE]


async def _listed(r: Rig, *params: tuple[str, str]) -> Any:
    row = Row(pattern="", kind=Kind.ZONAL_LIST, resource="resource", handler="metric_list", ties=("id:asc",))
    req = Request(service="metric", method="GET", path="/v1/resource/generic", params=list(params), headers={}, row=row,
                  caller=caller("admin", project=TENANT), request_id="r")  # fmt: skip
    return await metric_list(r.core, req)


def _three(site: str, _: str, __: Any) -> Reply:
    """Three of seven rows, in a site that gives no more at once."""
    rows = [{"id": f"{n}-{site}", "project_id": None, "user_id": "u"} for n in range(3)]
    link = f'<http://{site}:8041/v1/resource/generic?limit=3&marker={rows[-1]["id"]}>; rel="next"'
    return Reply(site, 200, {"content-type": "application/json", "link": link}, json.dumps(rows).encode())


async def test_a_page_is_no_larger_than_a_site_makes_it(r: Rig) -> None:
    """A site's ``max_limit`` is ours: nobody waits until hundreds of its pages were read."""
    r.south.answer = _three
    got = await _listed(r)
    assert [one["id"] for one in json.loads(got.body)] == ["0-paris", "0-tokyo", "1-paris"]
    assert parse_qs(urlsplit(got.headers["Link"].strip("<").partition(">")[0]).query)["limit"] == ["3"]
    assert len(r.south.asked) == 2


async def test_rows_are_put_in_order_before_they_are_cut(r: Rig) -> None:
    """Of rows that show their user alone the order and the marker are those of whole ones."""
    r.south.answer = _three
    got = await _listed(r, ("attrs", "user_id"))
    assert json.loads(got.body) == [{"user_id": "u"}] * 3 and "marker=1-paris" in got.headers["Link"]
    assert all("attrs" not in params for _, _, _, params in r.south.asked)


async def test_json_is_written_as_gnocchi_writes_it(r: Rig) -> None:
    """What is no number is said as Python says it, and scripts find the blanks that they look for."""
    r.south.answer = lambda site, _, doc: Reply(site, 404, {}, b"{}") if site == "tokyo" else said(math.inf)
    body = {"operations": "(rolling mean 2 (metric cpu mean))", "resource_type": "instance"}
    req = Request(service="metric", method="POST", path="/v1/aggregates", params=[("fill", "null")], headers={},
                  body=json.dumps(body).encode(), caller=caller("admin", project=TENANT), request_id="r")  # fmt: skip
    got = await aggregates(r.core, req)
    assert got.body == b'{"measures": {"aggregated": [["2026-11-24T00:00:00+00:00", 60.0, Infinity]]}}'


async def test_a_name_is_each_users_own(r: Rig) -> None:
    """Gnocchi makes an id of a name and of who made it: where one user's is says nothing of another's."""
    home = {TENANT: "paris", "7e4a4700000000000000000000000001": "tokyo"}
    for project, site in home.items():
        r.south.answer = lambda at, *_, s=site: Reply(at, 200 if at == s else 404, {"content-type": "application/json"}, b"{}")
        who = caller("admin", project=project)
        asked = Request(
            service="metric", method="GET", path="/v1/resource/generic/x", params=[], headers={}, caller=who, request_id="r"
        )
        assert (await locate(r.core, asked, "resource", ["x"]))[0] == {"x": site}


@pytest.mark.parametrize(("without", "status"), [({"tokyo"}, 200), ({"paris", "tokyo"}, 404)])
async def test_a_type_that_one_site_knows_is_listed(r: Rig, without: set[str], status: int) -> None:
    """Prometheus makes its type of resource where it writes; that another site has none is no refusal of the whole."""
    missing = Reply("", 404, {"content-type": "application/json"}, b'{"code": 404}')
    r.south.answer = lambda site, path, doc: missing if site in without else _three(site, path, doc)
    got = await _listed(r)
    assert got.status == status and len(json.loads(got.body)) == (3 if status == 200 else 1)
