"""Where a request goes: golden tables of what is asked, the row that answers for it, and who is asked then.

S1, V1 live in paris, S2, V2 in tokyo; the project has nothing in oslo. Rows whose handler first reads the body
(creates) are followed as far as the row here, and the choice of the site has a table of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from cascade.api import choice
from cascade.api.handlers import HANDLERS, TABLES
from cascade.api.request import Request
from cascade.conf import load
from cascade.model.caller import Caller
from cascade.model.errors import BadReply, Fault
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.model.table import Kind, find
from cascade.routing import plan
from cascade.routing.cursor import Cursors
from cascade.sites.registry import Sites
from cascade.store import Store
from cascade.store.index import IndexEntry
from cascade.store.pairs import Pair

shared = pytest.mark.asyncio(loop_scope="module")
"""One database for all of it."""
PROJECT = "a" * 32
S1, S2, V1, V2, N1 = (f"0000000{n}-0000-4000-8000-00000000000{n}" for n in range(1, 6))
NOBODY = "3f0c2a51-6f0e-4b57-9d0c-0123456789ab"
SITES = ("oslo", "paris", "tokyo")
EVERY = "oslo paris tokyo"
HERE = "paris tokyo"
"""Where the project has something."""
COLLECTIONS = (
    "servers", "volumes", "snapshots", "backups", "groups", "messages", "attachments", "hypervisors", "services", "pools",
    "migrations", "hosts", "transfers", "group_snapshots",
)  # fmt: skip
ANSWER = json.dumps({**{key: [] for key in COLLECTIONS}, "volume-summary": {"total_size": 0, "total_count": 0}}).encode()

# service, method, path?query -> kind of the row, its handler ("" = what the kind does), who is asked (None = the body decides)
GOLDEN: list[tuple[str, str, str, str, str, str | None]] = [
    # identity: all of it is the hub's
    ("identity", "GET", "/v3/projects", "hub", "", "hub"),
    ("identity", "POST", "/v3/auth/tokens", "hub", "", "hub"),
    ("identity", "DELETE", "/v3/users/u/application_credentials/c", "hub", "", "hub"),
    # compute: what exists once
    ("compute", "GET", "/flavors", "hub", "", "hub"),
    ("compute", "GET", "/flavors/42/os-extra_specs", "hub", "", "hub"),
    ("compute", "POST", "/flavors", "replicated", "hub_write", None),
    ("compute", "DELETE", "/flavors/42", "replicated", "hub_write", None),
    ("compute", "GET", "/os-keypairs", "hub", "", "hub"),
    ("compute", "POST", "/os-keypairs", "hub", "", "hub"),
    ("compute", "DELETE", "/os-keypairs/k", "replicated", "hub_write", None),
    ("compute", "GET", "/os-server-groups", "replicated", "server_groups", None),
    ("compute", "GET", "/nonesuch", "hub", "", "hub"),
    ("compute", "PUT", "/servers", "hub", "", "hub"),
    # compute: servers
    ("compute", "GET", "/servers", "zonal list", "", HERE),
    ("compute", "GET", "/servers/detail?limit=1", "zonal list", "", HERE),
    ("compute", "GET", "/servers/detail?all_tenants=1", "zonal list", "", HERE),  # a member's wish is the sites' to refuse
    ("compute", "POST", "/servers", "zonal create", "server_create", None),
    ("compute", "GET", f"/servers/{S1}", "zonal", "", "paris"),
    ("compute", "GET", f"/servers/{S2}", "zonal", "", "tokyo"),
    ("compute", "PUT", f"/servers/{S2}", "zonal", "", "tokyo"),
    ("compute", "DELETE", f"/servers/{S2}", "zonal", "server_delete", None),
    ("compute", "POST", f"/servers/{S1}/action", "zonal", "server_action", None),
    ("compute", "GET", f"/servers/{S1}/metadata/k", "zonal", "", "paris"),
    ("compute", "GET", f"/servers/{S2}/diagnostics", "zonal", "", "tokyo"),
    ("compute", "GET", f"/servers/{S2}/os-instance-actions/req-1", "zonal", "instance_actions", None),
    ("compute", "GET", f"/servers/{S2}/os-interface", "zonal", "", "tokyo"),
    ("compute", "POST", f"/servers/{S1}/os-interface", "zonal", "interface_attach", None),
    ("compute", "DELETE", f"/servers/{S1}/os-interface/p", "zonal", "interface_detach", None),
    ("compute", "POST", f"/servers/{S1}/os-volume_attachments", "zonal", "volume_attach", None),
    ("compute", "DELETE", f"/servers/{S1}/os-volume_attachments/{V1}", "zonal", "", "paris"),
    ("compute", "GET", f"/servers/{S2}/tags", "zonal", "", "tokyo"),
    ("compute", "PUT", f"/servers/{S2}/tags/blue", "zonal", "", "tokyo"),
    ("compute", "PUT", f"/servers/{S2}/tags", "zonal", "server_tags", None),
    ("compute", "POST", f"/servers/{S2}/remote-consoles", "zonal", "remote_console", None),
    ("compute", "GET", f"/servers/{S2}/a-path-of-the-year-2031", "zonal", "", "tokyo"),
    ("compute", "GET", f"/servers/{NOBODY}", "zonal", "", "hub paris tokyo"),  # looked for, then refused by the real service
    # compute: over all sites
    ("compute", "GET", "/os-hypervisors", "aggregate", "hypervisors", EVERY),
    ("compute", "GET", "/os-hypervisors/detail", "aggregate", "hypervisors", EVERY),
    ("compute", "GET", "/os-services", "aggregate", "services", EVERY),
    ("compute", "GET", "/os-migrations", "aggregate", "migrations", EVERY),
    ("compute", "GET", "/limits", "aggregate", "compute_limits", None),
    ("compute", "GET", f"/os-quota-sets/{PROJECT}/detail", "aggregate", "compute_quota", None),
    ("compute", "GET", "/os-availability-zone", "aggregate", "compute_zones", None),
    ("compute", "GET", "/os-aggregates", "replicated", "aggregates", None),
    # volume
    ("volume", "GET", "/volumes", "zonal list", "", HERE),
    ("volume", "GET", "/volumes/detail?sort=name:asc", "zonal list", "", HERE),
    ("volume", "GET", "/volumes/summary", "aggregate", "volume_summary", HERE),
    ("volume", "POST", "/volumes", "zonal create", "volume_create", None),
    ("volume", "GET", f"/volumes/{V2}", "zonal", "", "tokyo"),
    ("volume", "PUT", f"/volumes/{V1}", "zonal", "", "paris"),
    ("volume", "GET", f"/volumes/{V2}/metadata", "zonal", "", "tokyo"),
    ("volume", "DELETE", f"/volumes/{V1}", "zonal", "volume_delete", None),
    ("volume", "POST", f"/volumes/{V1}/action", "zonal", "volume_action", None),
    ("volume", "GET", "/snapshots/detail", "zonal list", "", HERE),
    ("volume", "POST", "/snapshots", "zonal create", "volume_child_create", None),
    ("volume", "GET", "/messages", "zonal list", "", HERE),
    ("volume", "GET", "/types", "hub", "", "hub"),
    ("volume", "POST", "/types", "replicated", "hub_write", None),
    ("volume", "GET", "/scheduler-stats/get_pools", "aggregate", "pools", EVERY),
    ("volume", "GET", "/os-services", "aggregate", "services", EVERY),
    # network: the hub's, and copies follow writes
    ("network", "GET", "/v2.0/networks", "replicated", "network_read", None),
    ("network", "POST", "/v2.0/networks", "replicated", "network_create", None),
    ("network", "GET", "/v2.0/subnets", "replicated", "network_read", "hub"),
    ("network", "PUT", f"/v2.0/ports/{N1}", "replicated", "network_write", None),
    ("network", "PUT", f"/v2.0/routers/{N1}/add_router_interface", "replicated", "network_write", None),
    ("network", "PUT", f"/v2.0/subnets/{N1}/tags/t", "hub", "", "hub"),
    ("network", "GET", "/v2.0/security-group-rules", "hub", "", "hub"),
    ("network", "GET", "/v2.0/qos/policies", "hub", "", "hub"),
    ("network", "GET", "/v2.0/agents", "aggregate", "network_agents", None),
    # image: the hub's
    ("image", "GET", "/v2/schemas/image", "hub", "", "hub"),
    ("image", "POST", "/v2/images", "replicated", "image_write", None),
    ("image", "PUT", f"/v2/images/{N1}/file", "replicated", "image_upload", None),
    ("image", "GET", f"/v2/images/{N1}/members", "hub", "", "hub"),
    ("placement", "GET", "/resource_providers", "aggregate", "placement_list", None),
    ("placement", "GET", f"/resource_providers/{S2}/usages", "aggregate", "placement_one", None),
    ("placement", "PUT", f"/resource_providers/{S2}", "aggregate", "placement_refused", None),
    # metric: there is none at the hub
    ("metric", "GET", "/v1/resource/instance", "zonal list", "metric_list", None),
    ("metric", "POST", "/v1/search/resource/generic", "zonal list", "metric_list", None),
    ("metric", "POST", "/v1/metric", "zonal create", "metric_create", None),
    ("metric", "GET", f"/v1/resource/generic/{S1}/metric/cpu/measures", "zonal", "metric_zonal", None),
    ("metric", "POST", f"/v1/metric/{N1}/measures", "zonal", "metric_zonal", None),
    ("metric", "POST", "/v1/batch/resources/metrics/measures", "aggregate", "metric_batch", None),
    ("metric", "POST", "/v1/aggregates", "aggregate", "metric_aggregates", None),
    ("metric", "POST", "/v1/archive_policy", "replicated", "metric_replicated", None),
    ("metric", "DELETE", "/v1/archive_policy_rule/r", "replicated", "metric_replicated", None),
    ("metric", "GET", "/v1/archive_policy/low", "aggregate", "metric_any", None),
    ("metric", "POST", "/v1/prometheus/write", "zonal create", "metric_home", None),
]
CALLER = Caller(
    token="t", user_id="u", user_name="u", user_domain_id="d", project_id=PROJECT, project_name="p", project_domain_id="d",
    roles=frozenset({"member"}), expires_at=2e10,
)  # fmt: skip


class Recorder:
    """Every target answers, and is written down."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def base_urls(self, target: str) -> dict[str, str]:
        return {"compute": f"http://{target}/compute/v2.1"}

    async def call(self, target: str, service: str, method: str, path: str, **_: Any) -> Reply:
        self.asked.append((target, path))
        if NOBODY in path:
            return Reply(target, 404, {"content-type": "application/json"}, b"{}")
        return Reply(target, 200, {"content-type": "application/json"}, ANSWER)

    def targets(self) -> str:
        return " ".join(sorted({t for t, _ in self.asked}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Three sites, a project in two of them."""
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('plan')}/c.db")
    for number, name in enumerate(SITES, 1):
        await store.sites.add(Site(name=name, number=number, cloud=name))
        await store.pairs.put(Pair(kind="project", hub_id=PROJECT, site=name, site_id=f"{number}" * 32))
    for kind, ident, site in (("server", S1, "paris"), ("server", S2, "tokyo"), ("volume", V1, "paris"), ("volume", V2, "tokyo")):
        await store.index.add(kind, ident, site=site, project_id=PROJECT, user_id="u", created=1.0)
    sites = Sites(store)
    await sites.reload()

    async def nothing(*_: Any) -> None:
        pass

    yield SimpleNamespace(
        conf=load([], []), store=store, sites=sites, cursors=Cursors(), watch=SimpleNamespace(noticed=nothing),
        discovery=SimpleNamespace(zones=lambda *_: ["nova"], window=lambda _: ("2.1", "2.100")),
    )  # fmt: skip
    await store.close()


@pytest.fixture
def core(machine: Any) -> Any:
    """With nobody asked yet."""
    machine.south = Recorder()
    return machine


def request(service: str, method: str, target: str) -> Request:
    path, _, query = target.partition("?")
    params = [(k, v) for k, _, v in (p.partition("=") for p in query.split("&") if p)]
    version = {"compute": "2.90", "volume": "3.60"}.get(service)
    req = Request(
        service=service, method=method, path=path, params=params, headers={}, caller=CALLER, request_id="r", version=version
    )
    found = find(TABLES[service], method, path)
    if found is not None:
        req.row, req.match = found
    return req


@shared
@pytest.mark.parametrize(("service", "method", "path", "kind", "handler", "asked"), GOLDEN)
async def test_golden(core: Any, service: str, method: str, path: str, kind: str, handler: str, asked: str | None) -> None:
    req = request(service, method, path)
    row = req.row
    assert ((row.kind.value, row.handler) if row else ("hub", "")) == (kind, handler)
    assert handler == "" or handler in HANDLERS
    if asked is not None:
        await HANDLERS[handler or kind](core, req)
        assert core.south.targets() == asked


@shared
@pytest.mark.parametrize(
    ("path", "status", "ended"),
    [(f"/servers/{S2}", "DELETED", [S2]), (f"/servers/{S2}", "ACTIVE", []), (f"/servers/{S2}/os-interface", "DELETED", [])],
)
async def test_a_server_shown_as_deleted_has_no_ports_any_more(core: Any, path: str, status: str, ended: list[str]) -> None:
    """Nova shows it so for a moment, and for clients that is the end."""
    seen: list[str] = []

    async def missing(entry: IndexEntry) -> None:
        seen.append(entry.id)

    async def call(target: str, *_: Any, **__: Any) -> Reply:
        body = json.dumps({"server": {"id": S2, "status": status, "name": "DELETED"}}).encode()
        return Reply(target, 200, {"content-type": "application/json"}, body)

    core.watch, core.south.call, kept = SimpleNamespace(noticed=missing), call, core.watch
    try:
        assert (await HANDLERS["zonal"](core, request("compute", "GET", path))).status == 200
    finally:
        core.watch = kept
    assert seen == ended


def test_every_row_has_its_handler() -> None:
    """And each service has golden rows of each kind of row it has."""
    for service, rows in TABLES.items():
        assert {r.handler or r.kind.value for r in rows} <= HANDLERS.keys()
        assert {r.kind.value for r in rows} <= {kind for s, _, _, kind, _, _ in GOLDEN if s == service}


SEGMENT = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.~", min_size=1, max_size=12)
BELOW = {("compute", "/servers"): "server", ("volume", "/volumes"): "volume", ("volume", "/snapshots"): "snapshot",
         ("volume", "/backups"): "backup", ("volume", "/attachments"): "attachment", ("volume", "/groups"): "group",
         ("volume", "/group_snapshots"): "group_snapshot", ("volume", "/volume-transfers"): "transfer"}  # fmt: skip


@given(
    where=st.sampled_from(sorted(BELOW)),
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    rest=st.lists(SEGMENT, min_size=1, max_size=4),
)
def test_what_is_unlisted_goes_where_its_parent_is(where: tuple[str, str], method: str, rest: list[str]) -> None:
    """No path below a zonal thing is the hub's, whoever invents it; without a handler of its own it is forwarded as it is."""
    service, collection = where
    req = request(service, method, f"{collection}/{S2}/{'/'.join(rest)}")
    assert req.row is not None and req.match["id"] == S2
    if req.row.handler:
        assert req.row.kind in (Kind.ZONAL, Kind.ZONAL_CREATE)
        return
    assert (req.row.kind, req.row.resource) == (Kind.ZONAL, BELOW[where])
    core = Small(IndexEntry(kind=BELOW[where], id=S2, site="tokyo", project_id=PROJECT, user_id="u", created=None))
    asyncio.run(HANDLERS["zonal"](core, req))
    assert core.south.asked == [("tokyo", req.path)]


class Small:
    """As much of the machine as forwarding needs: one known thing, no pairs."""

    def __init__(self, known: IndexEntry) -> None:
        async def get(kind: str, ident: str) -> IndexEntry | None:
            return known if (kind, ident) == (known.kind, known.id) else None

        async def none(*_: Any) -> dict[str, Any]:
            return {}

        async def nothing(*_: Any) -> None:
            return None

        site = Site(name=known.site, number=1, cloud=known.site)
        self.conf, self.south = load([], []), Recorder()
        self.store = SimpleNamespace(
            index=SimpleNamespace(get=get, shown=get, settled=lambda kind, ident: False),
            pairs=SimpleNamespace(to_site=none, to_hub=none),
            intents=SimpleNamespace(find=nothing),
        )
        self.sites = SimpleNamespace(usable=lambda _: True, get=lambda _: site)


# zone, what is named, where the project is at home -> the site, or the fault's status and a word of it
CHOICES: list[tuple[str | None, dict[str, str], str | None, str]] = [
    ("tokyo", {}, None, "tokyo"),
    ("oslo", {}, "paris", "oslo"),
    (None, {V2: "tokyo"}, "paris", "tokyo"),
    ("tokyo", {V2: "tokyo"}, "paris", "tokyo"),
    (None, {V1: "paris", S1: "paris"}, None, "paris"),
    (None, {}, "tokyo", "tokyo"),
    (None, {}, None, "paris"),  # where it has things already
    ("paris", {V2: "tokyo"}, None, "400 same availability_zone"),
    (None, {V1: "paris", V2: "tokyo"}, None, "400 same availability_zone"),
    ("atlantis", {}, None, "400 availability zone"),
    ("nova", {}, None, "400 availability zone"),
    ("", {}, None, "400 availability zone"),
]


@shared
@pytest.mark.parametrize(("zone", "named", "home", "expected"), CHOICES)
async def test_choice_of_the_site(core: Any, zone: str | None, named: dict[str, str], home: str | None, expected: str) -> None:
    if home is None:
        await core.store.docs.drop(f"home/{PROJECT}")
    else:
        await core.store.docs.put(f"home/{PROJECT}", {"site": home})
    try:
        got = (await choice.choose(core, request("compute", "POST", "/servers"), zone=zone, named=named)).site
    except Fault as e:
        status, _, word = expected.partition(" ")
        assert str(e.status) == status and word in e.message
    else:
        assert got == expected


@given(st.sets(st.sampled_from("abcdefghij"), min_size=2), st.text("0123456789abcdef", min_size=32, max_size=32))
def test_a_site_more_moves_only_its_own_share(sites: set[str], project: str) -> None:
    """Rendezvous: whoever is not at home in the new site stays where he was."""
    new = max(sites)
    before, after = plan.rendezvous(project, sites - {new}), plan.rendezvous(project, sites)
    assert after in (before, new)


@shared
async def test_a_page_is_no_document(core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something before the site answers 200 with HTML: an unknown server, never that page."""

    async def page(target: str, *_: Any, **__: Any) -> Reply:
        return Reply(target, 200, {"content-type": "text/html"}, b"<html>it works at site 7</html>")

    monkeypatch.setattr(core.south, "call", page)
    answer = await HANDLERS["zonal"](core, request("compute", "GET", f"/servers/{S2}"))
    assert json.loads(answer.body)["server"]["status"] == "UNKNOWN"
    with pytest.raises(BadReply):
        await HANDLERS["zonal"](core, request("volume", "GET", f"/volumes/{V2}"))
