"""Placement over two sites: one list, names that say where, writes refused, tenants kept out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascade.api.placement import HANDLERS
from cascade.api.request import Params, Request, Response
from cascade.model.errors import Fault, SiteUnreachable, fault_body
from cascade.model.ids import split_host
from cascade.model.reply import Reply
from cascade.model.site import Site
from cascade.model.table import find
from cascade.store.index import IndexEntry
from cascade.tables.placement import ROWS
from tests.unit.sites_fake import caller

UUIDS = {"paris": "11111111-1111-4111-8111-111111111111", "tokyo": "22222222-2222-4222-8222-222222222222"}
OURS, THEIRS = "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444"
NOT_FOUND = (404, {"errors": [{"status": 404, "detail": "none such"}]})


def at_site(site: str, path: str, params: Params) -> tuple[int, Any]:
    """What the Placement of a site says."""
    asked = dict(params)
    provider = {
        "uuid": UUIDS[site],
        "name": "cmp1",
        "links": [{"rel": "self", "href": f"/prefix/resource_providers/{UUIDS[site]}"}],
    }
    own = f"/resource_providers/{UUIDS[site]}"
    answers = {
        "/resource_providers": (200, {"resource_providers": [provider] if asked.get("name", "cmp1") == "cmp1" else []}),
        own: (200, provider),
        f"{own}/allocations": (200, {"allocations": {OURS: {"resources": {"VCPU": 1}}, THEIRS: {"resources": {"VCPU": 1}}}}),
        "/traits": (200, {"traits": ["A", f"CUSTOM_{site.upper()}"]}),
        "/usages": (200, {"usages": {"unknown": {"VCPU": 2, "consumer_count": 1}}}),
        f"/allocations/{OURS}": (200, {"allocations": {UUIDS[site]: {"resources": {"VCPU": 1}}}}),
        "/allocation_candidates": (200, {
            "allocation_requests": [{"allocations": {UUIDS[site]: {"resources": {"VCPU": 1}}}}],
            "provider_summaries": {UUIDS[site]: {"root_provider_uuid": UUIDS[site]}},
        }),
    }  # fmt: skip
    if asked.get("required") == "CUSTOM_PARIS" and site != "paris":
        return 400, {"errors": [{"status": 400, "detail": "No such trait(s): CUSTOM_PARIS"}]}
    return answers.get(path, NOT_FOUND)


class World:
    """Two sites, of which ``down`` ones do not answer."""

    def __init__(self, *down: str) -> None:
        self.asked: list[str] = []
        rows = {name: Site(name=name, number=n, cloud=name) for n, name in enumerate(UUIDS, 1)}
        entry = IndexEntry(kind="server", id=OURS, site="tokyo", project_id="p" * 32, user_id="u" * 32, created=None)

        async def call(site: str, service: str, method: str, path: str, *, params: Params, **_: Any) -> Reply:
            self.asked.append(site)
            if site in down:
                raise SiteUnreachable(site, "no route")
            status, doc = at_site(site, path, params)
            return Reply(site, status, {"content-type": "application/json"}, msgspec.json.encode(doc))

        async def none(*_: Any, **__: Any) -> dict[str, Any]:
            return {}

        async def get(kind: str, ident: str, deleted: bool = False) -> IndexEntry | None:
            return entry if (kind, ident) == ("server", OURS) else None

        async def unknown(kind: str, ids: set[str]) -> set[str]:
            return ids - {OURS}

        async def sites_of(kind: str | None, project: str | None) -> set[str]:
            return {"tokyo"}

        self.core: Any = SimpleNamespace(
            conf=SimpleNamespace(public_url="http://cloud:1/base", list_deadline=1),
            sites=SimpleNamespace(names=lambda: list(rows), get=rows.__getitem__, usable=lambda name: True),
            south=SimpleNamespace(call=call, base_urls=lambda site: {}),
            store=SimpleNamespace(
                pairs=SimpleNamespace(to_site=none, to_hub=none),
                index=SimpleNamespace(get=get, shown=get, settled=lambda kind, ident: False, unknown=unknown, sites_of=sites_of),
            ),
        )

    async def ask(self, method: str, path: str, *params: tuple[str, str], role: str = "admin", **who: Any) -> Response:
        found = find(ROWS, method, path)
        assert found is not None
        req = Request(
            service="placement", method=method, path=path, params=list(params), headers={}, caller=caller(role, **who),
            request_id="r", version="1.39", row=found[0], match=found[1],
        )  # fmt: skip
        return await HANDLERS[found[0].handler](self.core, req)

    async def doc(self, path: str, *params: tuple[str, str], **who: Any) -> Any:
        answer = await self.ask("GET", path, *params, **who)
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)


async def test_providers_of_all_sites_say_where_they_are() -> None:
    rows = (await World().doc("/resource_providers"))["resource_providers"]
    assert [(r["name"], r["uuid"]) for r in rows] == [("cmp1.paris", UUIDS["paris"]), ("cmp1.tokyo", UUIDS["tokyo"])]
    assert rows[0]["links"][0]["href"] == f"/base/placement/resource_providers/{UUIDS['paris']}"
    assert split_host(rows[1]["name"]) == ("tokyo", "cmp1")


async def test_a_name_is_looked_for_where_it_says() -> None:
    world = World()
    rows = (await world.doc("/resource_providers", ("name", "cmp1.tokyo")))["resource_providers"]
    assert [r["uuid"] for r in rows] == [UUIDS["tokyo"]] and world.asked == ["tokyo"]
    assert (await World().doc("/resource_providers", ("name", "cmp1")))["resource_providers"] == []


async def test_a_provider_is_found_by_its_uuid() -> None:
    assert (await World().doc(f"/resource_providers/{UUIDS['tokyo']}"))["name"] == "cmp1.tokyo"
    assert (await World().ask("GET", f"/resource_providers/{THEIRS}")).status == 404
    with pytest.raises(Fault) as caught:  # it may be there
        await World("tokyo").ask("GET", f"/resource_providers/{UUIDS['tokyo']}")
    assert caught.value.status == 503


async def test_what_only_one_site_knows() -> None:
    assert (await World().doc("/traits"))["traits"] == ["A", "CUSTOM_PARIS", "CUSTOM_TOKYO"]
    answer = await World().ask("GET", "/resource_providers", ("required", "CUSTOM_PARIS"))
    assert [r["name"] for r in msgspec.json.decode(answer.body)["resource_providers"]] == ["cmp1.paris"]
    assert "X-Cascade-Missing-Zones" not in answer.headers
    away = await World("tokyo").ask("GET", "/traits")
    assert away.headers["X-Cascade-Missing-Zones"] == "tokyo"


async def test_candidates_and_their_limit() -> None:
    doc = await World().doc("/allocation_candidates")
    assert len(doc["allocation_requests"]) == 2 and doc["provider_summaries"].keys() == set(UUIDS.values())
    doc = await World().doc("/allocation_candidates", ("limit", "1"))
    assert len(doc["allocation_requests"]) == 1 and doc["provider_summaries"].keys() == {UUIDS["paris"]}


async def test_the_site_owners_own_servers_are_not_shown() -> None:
    assert (await World().doc(f"/resource_providers/{UUIDS['paris']}/allocations"))["allocations"].keys() == {OURS}
    assert (await World().doc(f"/allocations/{OURS}"))["allocations"].keys() == {UUIDS["tokyo"]}
    world = World()
    assert (await world.doc(f"/allocations/{THEIRS[:-1]}"))["allocations"] == {} and world.asked == []


async def test_usages_add_up_and_a_tenant_may_see_his_own() -> None:
    assert (await World().doc("/usages"))["usages"] == {"unknown": {"VCPU": 4, "consumer_count": 2}}
    world = World()
    own = await world.doc("/usages", ("project_id", "p" * 32), role="reader")
    assert own["usages"]["unknown"]["VCPU"] == 2 and world.asked == ["tokyo"]


@pytest.mark.parametrize("path", [row.pattern.replace("{path:*}", "/nonesuch") for row in ROWS])
async def test_tenants_are_kept_out_and_no_site_is_asked(path: str) -> None:
    world = World()
    with pytest.raises(Fault) as caught:
        await world.ask("GET", path, ("project_id", "q" * 32), role="member")
    assert caught.value.status == 403 and world.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/resource_providers", 405), ("DELETE", f"/resource_providers/{OURS}", 405), ("PUT", "/traits/CUSTOM_X", 405),
        ("POST", "/reshaper", 405), ("PUT", f"/allocations/{OURS}", 405), ("GET", "/nonesuch", 404),
    ],
)  # fmt: skip
async def test_writes_are_refused(method: str, path: str, status: int) -> None:
    world = World()
    with pytest.raises(Fault) as caught:
        await world.ask(method, path)
    assert caught.value.status == status and world.asked == []
    (error,) = msgspec.json.decode(fault_body("placement", caught.value)[0])["errors"]
    assert error["status"] == status and error["title"] in ("Method Not Allowed", "Not Found")
