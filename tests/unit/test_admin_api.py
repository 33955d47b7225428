"""The admin API: sites come, change and go; everything it answers is what its OpenAPI document says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from cascade.api import admin
from cascade.api.request import Response
from cascade.model.errors import Fault
from cascade.model.site import OPTIONS, Site
from tests.unit.admin_fake import World, caller, cloud

DOCUMENT = yaml.safe_load(admin.document())


@pytest_asyncio.fixture
async def world(tmp_path: Path):
    made = await World.make(tmp_path)
    made.south.clouds["paris"] = cloud()
    yield made
    await made.store.close()


def doc(answer: Response, operation: tuple[str, str]) -> Any:
    """The decoded answer, checked against the document."""
    path, method = operation
    body = json.loads(answer.body)
    described = DOCUMENT["paths"][path][method]["responses"][str(answer.status)]
    if "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    schema = {**described["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    OAS31Validator(schema).validate(body)
    return body


def test_the_document_is_valid_and_lists_every_route() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    described = {(m.upper(), p) for p, item in DOCUMENT["paths"].items() for m in item if m in ("get", "post", "patch", "delete")}
    assert described - {("GET", "/openapi.yaml")} == {(m, r.pattern) for r in admin.ROWS for m in r.methods}


def test_the_document_knows_every_option() -> None:
    assert DOCUMENT["components"]["schemas"]["Options"]["properties"].keys() == OPTIONS.keys()


async def test_a_site_joins(world: World) -> None:
    body = {"site": {"name": "paris", "options": {"wan_physnet": "wan"}}}
    answer = await world.ask("POST", "/sites", body)
    assert answer.status == 201
    made = doc(answer, ("/sites", "post"))
    assert made["site"]["name"] == made["site"]["cloud"] == "paris" and made["site"]["number"] == 1
    assert made["report"]["ok"] and made["report"]["findings"] == []
    assert world.followed == ["discovery paris", "sweep paris"]
    listed = doc(await world.ask("GET", "/sites"), ("/sites", "get"))["sites"]
    assert [s["name"] for s in listed] == ["paris"]
    shown = doc(await world.ask("GET", "/sites/paris"), ("/sites/{name}", "get"))["site"]
    assert shown["options"] == {"wan_physnet": "wan"} and shown["health"]["state"] == "unknown"
    with pytest.raises(Fault, match="already") as e:
        await world.ask("POST", "/sites", body)
    assert e.value.status == 409


async def test_a_dry_run_changes_nothing(world: World) -> None:
    answer = await world.ask("POST", "/sites", {"site": {"name": "paris"}}, params={"dry_run": "true"})
    assert doc(answer, ("/sites", "post"))["report"]["ok"]
    assert await world.store.sites.all() == [] and world.followed == []
    assert "paris (joining)" not in str(world.sites.health._breakers)


async def test_a_blocker_refuses_with_the_report(world: World) -> None:
    world.south.clouds["tokyo"] = cloud(high="2.100")
    answer = await world.ask("POST", "/sites", {"site": {"name": "tokyo"}})
    assert answer.status == 409
    refused = doc(answer, ("/sites", "post"))
    assert refused["error"]["code"] == 409 and not refused["report"]["ok"]
    assert await world.store.sites.all() == []
    answer = await world.ask("POST", "/sites", {"site": {"name": "tokyo"}, "allow_lower_window": True})
    assert answer.status == 201


async def test_a_site_changes(world: World) -> None:
    await world.ask("POST", "/sites", {"site": {"name": "paris", "options": {"wan_physnet": "wan"}}})
    for change, shown in (
        ({"draining": True}, {"draining": True}),
        ({"options": {"external_network": "public", "wan_physnet": ""}}, {"options": {"external_network": "public"}}),
        ({"enabled": False}, {"enabled": False}),
        ({"enabled": True, "draining": False}, {"enabled": True, "draining": False}),
    ):
        answer = await world.ask("PATCH", "/sites/paris", {"site": change})
        site = doc(answer, ("/sites/{name}", "patch"))["site"]
        assert {k: site[k] for k in shown} == shown
    assert (await world.store.sites.all())[0].options == {"external_network": "public"}


async def test_a_disabled_site_is_not_probed(world: World) -> None:
    await world.ask("POST", "/sites", {"site": {"name": "paris", "enabled": False}})
    health = doc(await world.ask("GET", "/sites/paris/health"), ("/sites/{name}/health", "get"))["health"]
    assert health["state"] == "off"


async def test_health_asks_what_the_site_can_do_now(world: World) -> None:
    """So that its operator sees the release he upgraded it to; one that is down is not asked."""
    await world.ask("POST", "/sites", {"site": {"name": "paris"}})
    world.followed.clear()
    for state, asked in (("down", []), ("up", ["discovery paris"])):
        for service in ("compute", "identity"):
            breaker = world.sites.health._breaker("paris", service)
            breaker._turn(state)
        assert doc(await world.ask("GET", "/sites/paris/health"), ("/sites/{name}/health", "get"))["health"]["state"] == state
        assert world.followed == asked


async def test_enabling_asks_again(world: World) -> None:
    await world.ask("POST", "/sites", {"site": {"name": "paris", "enabled": False}})
    del world.south.clouds["paris"]
    answer = await world.ask("PATCH", "/sites/paris", {"site": {"enabled": True}})
    assert answer.status == 409 and doc(answer, ("/sites/{name}", "patch"))["report"]["reachable"] is False
    assert (await world.store.sites.all())[0].enabled is False


async def test_a_site_that_holds_something_stays(world: World) -> None:
    await world.ask("POST", "/sites", {"site": {"name": "paris"}})
    await world.store.index.add("server", "s1", site="paris", project_id="p", user_id="u")
    with pytest.raises(Fault, match="1 server") as e:
        await world.ask("DELETE", "/sites/paris")
    assert e.value.status == 409
    await world.store.index.tombstone("server", "s1")
    assert (await world.ask("DELETE", "/sites/paris")).status == 204
    assert world.sites.names() == []


async def test_status_and_intents(world: World) -> None:
    await world.ask("POST", "/sites", {"site": {"name": "paris"}})
    await world.store.intents.open(
        "server.create", site="paris", project_id="p", user_id="u", request_id="req-9", body={"server": {"name": "secret plan"}}
    )
    answer = await world.ask("GET", "/intents", params={"site": "paris"})
    (intent,) = doc(answer, ("/intents", "get"))["intents"]
    assert intent["verb"] == "server.create" and intent["request_id"] == "req-9" and b"secret plan" not in answer.body
    status = doc(await world.ask("GET", "/status"), ("/status", "get"))["status"]
    assert status["open_intents"] == 1 and status["sites"][0]["open_intents"] == 1
    assert doc(await world.ask("GET", "/intents", params={"verb": "no.such"}), ("/intents", "get"))["intents"] == []


async def test_status_says_what_is_wrong_and_what_to_do(world: World) -> None:
    await world.ask("POST", "/sites", {"site": {"name": "paris"}})
    world.queue.add(("flavor", "f1"))
    await world.queue.drain()
    for _ in range(2):
        world.sites.health._failure("paris", "compute", "compute: no answer within 2 s", probe=True)
    status = doc(await world.ask("GET", "/status"), ("/status", "get"))["status"]
    (site,) = status["sites"]
    assert site["health"]["state"] == "down" and "says nothing" in site["advice"] and site["services_down"] == ["compute"]
    assert site["release"] == "2026.2" and site["extensions"] == ["router"] and site["windows"]["compute"] == ["2.1", "2.104"]
    assert status["waiting"] == {"network": 0, "replicas": 1, "images": 0, "image bits": 0}
    (failing,) = status["failing"]
    assert failing["queue"] == "replicas" and failing["key"] == "flavor f1" and "Nothing answers" in failing["advice"]


async def test_capacity_of_each_site_and_of_one_that_does_not_say(world: World) -> None:
    numbers = {"count": 2, "running_vms": 3, "vcpus": 8, "vcpus_used": 3, "memory_mb": 16, "memory_mb_used": 4, "local_gb": 9,
               "local_gb_used": 1, "current_workload": 0}  # fmt: skip
    for name in ("paris", "tokyo", "osaka"):
        await world.store.sites.add(Site(name=name, number=len(name), cloud=name, enabled=name != "osaka"))
    world.south.clouds["paris"] = cloud() | {("compute", "/os-hypervisors/statistics"): {"hypervisor_statistics": numbers}}
    world.south.clouds["tokyo"] = cloud() | {("compute", "/os-hypervisors/statistics"): 403}
    rows = {r["name"]: r for r in doc(await world.ask("GET", "/capacity"), ("/capacity", "get"))["capacity"]}
    assert (rows["paris"]["servers"], rows["paris"]["vcpus_used"], rows["paris"]["error"]) == (3, 3, None)
    assert rows["tokyo"]["servers"] is None and rows["tokyo"]["error"] and "disabled" in rows["osaka"]["error"]


async def test_intents_come_in_pages(world: World) -> None:
    for n in range(3):
        more = {"project_id": "p", "user_id": "u", "request_id": f"req-{n}", "body": {}}
        await world.store.intents.open("server.create", site="paris", **more)
    seen: list[str] = []
    while rows := (await page(world, limit="2", **({"marker": seen[-1]} if seen else {})))["intents"]:
        assert len(rows) <= 2
        seen += [r["id"] for r in rows]
    assert len(set(seen)) == 3
    for params in ({"limit": "0"}, {"limit": "-1"}, {"limit": "many"}, {"marker": "gone"}):
        with pytest.raises(Fault) as e:
            await world.ask("GET", "/intents", params=params)
        assert e.value.status == 400


async def page(world: World, **params: str) -> Any:
    return doc(await world.ask("GET", "/intents", params=params), ("/intents", "get"))


@pytest.mark.parametrize(
    "site", [{"name": "internal"}, {"name": "hub"}, {"zones": {"a": "b:c"}}, {"zones": {"a": "b,c"}}, {"zones": {"": "b"}}]
)
async def test_names_that_would_mean_something_else(world: World, site: dict[str, Any]) -> None:
    with pytest.raises(Fault) as e:
        await world.ask("POST", "/sites", {"site": {"name": "paris", **site}})
    assert e.value.status == 400


async def test_an_empty_option_is_none(world: World) -> None:
    answer = await world.ask("POST", "/sites", {"site": {"name": "paris", "options": {"domain": "", "wan_physnet": "wan"}}})
    assert doc(answer, ("/sites", "post"))["site"]["options"] == {"wan_physnet": "wan"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "not valid"),
        ({}, "site"),
        ({"site": {}}, "name"),
        ({"site": {"name": "Paris"}}, "name"),
        ({"site": {"name": "a.b"}}, "name"),
        ({"site": {"name": "hub"}}, "hub"),
        ({"site": {"name": "paris", "identity": "none"}}, "identity"),
        ({"site": {"name": "paris", "options": {"wan_fysnet": "x"}}}, "wan_fysnet"),
        ({"site": {"name": "paris", "options": {"wan_physnet": 3}}}, "options"),
        ({"site": {"name": "paris", "color": "red"}}, "color"),
        ({"site": {"name": "paris"}, "force": True}, "force"),
    ],
)
async def test_bad_bodies(world: World, body: Any, words: str) -> None:
    with pytest.raises(Fault, match=words) as e:
        await world.ask("POST", "/sites", body)
    assert e.value.status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/sites/nowhere", 404), ("PATCH", "/sites/nowhere", 404), ("GET", "/nothing", 404), ("PUT", "/sites", 405),
     ("POST", "/status", 405), ("DELETE", "/sites/nowhere", 404)],
)  # fmt: skip
async def test_refusals(world: World, method: str, path: str, status: int) -> None:
    with pytest.raises(Fault) as e:
        await world.ask(method, path, {"site": {"draining": True}})
    assert e.value.status == status


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        (caller("admin"), True),
        (caller("admin", project=None, system=True), True),
        (caller("admin", project=None), False),
        (caller("member", "reader"), False),
        (caller(), False),
    ],
)
async def test_only_administrators(world: World, who: Any, allowed: bool) -> None:
    if allowed:
        assert (await world.ask("GET", "/sites", who=who)).status == 200
    else:
        with pytest.raises(Fault) as e:
            await world.ask("GET", "/sites", who=who)
        assert e.value.status == 403 and "cascade:site:get" in e.value.message


def test_public_documents(tmp_path: Path) -> None:
    class Core:
        class conf:
            public_url = "http://c:1/"

    shown = admin.public(Core, "GET", "/v1")  # type: ignore[arg-type]
    assert shown is not None and json.loads(shown.body)["version"]["links"][0]["href"] == "http://c:1/cascade/v1"
    text = admin.public(Core, "GET", "/v1/openapi.yaml")  # type: ignore[arg-type]
    assert text is not None and text.body.startswith(b"openapi: 3.1")
    assert admin.public(Core, "GET", "/v1/sites") is None and admin.public(Core, "POST", "/v1") is None  # type: ignore[arg-type]
