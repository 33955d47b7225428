"""Neutron north: the hub's answers with what sites know, zone hints it refuses, and writes that copies follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cascade.api import network
from cascade.api.request import Params, Request, Response
from cascade.model.caller import Caller
from cascade.model.errors import Fault, SiteUnreachable
from cascade.model.table import find
from cascade.tables.network import ROWS
from tests.unit.network_fake import Doc, Net


def caller(*, admin: bool = False) -> Caller:
    return Caller(
        token="t", user_id="u1", user_name="u", user_domain_id="default", project_id="p1", project_name="p",
        project_domain_id="default", roles=frozenset({"admin" if admin else "member"}), expires_at=9e9,
    )  # fmt: skip


class Gate:
    """A gateway's Neutron side over the fakes."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.core: Any = SimpleNamespace(
            store=net.store, sites=net.sites, south=net.south, networks=net.networks,
            conf=SimpleNamespace(public_url="http://north", list_deadline=2.0),
            discovery=SimpleNamespace(zones=lambda site, service="compute": ["nova", f"{site}-b"]),
        )  # fmt: skip

    async def ask(self, method: str, path: str, doc: Any = None, params: Params | None = None, *, admin: bool = False) -> Response:
        found = find(ROWS, method, path)
        assert found is not None, path
        row, match = found
        request = Request(
            service="network", method=method, path=path, params=params or [], headers={},
            body=msgspec.json.encode(doc) if doc is not None else b"", caller=caller(admin=admin), request_id="req-1",
            row=row, match=match,
        )  # fmt: skip
        answer: Response = await network.HANDLERS[row.handler](self.core, request)
        return answer

    async def doc(self, method: str, path: str, doc: Any = None, params: Params | None = None, **more: Any) -> Any:
        answer = await self.ask(method, path, doc, params, **more)
        assert answer.status < 300, answer.body
        return msgspec.json.decode(answer.body) if answer.body else None


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    net = await Net.open(tmp_path)
    yield Gate(net)
    await net.store.close()


async def placed(gate: Gate, site: str = "paris", **state: Any) -> Doc:
    """A port with a copy in this state."""
    hub_net, _subnet = gate.net.network()
    port = gate.net.port(hub_net)
    made = await gate.net.networks.materialise_port(site, port, caller())
    getattr(gate.net, site).rows["ports"][made].update(state)
    return port


async def test_hints_are_kept_and_shown(gate: Gate) -> None:
    body = {"network": {"name": "n", "availability_zone_hints": ["tokyo", "paris"]}}
    made = (await gate.doc("POST", "/v2.0/networks", body))["network"]
    assert made["availability_zone_hints"] == ["tokyo", "paris"] and made["tags"] == []
    row = gate.net.hub.rows["networks"][made["id"]]
    assert row["tags"] == ["cascade.az.0=tokyo", "cascade.az.1=paris"] and made["revision_number"] == row["revision_number"]
    shown = (await gate.doc("GET", "/v2.0/networks", params=[("fields", "availability_zone_hints"), ("name", "n")]))["networks"]
    assert shown == [{"availability_zone_hints": ["tokyo", "paris"]}]


async def test_a_routers_port_needs_no_site_to_be_active(gate: Gate) -> None:
    """Clients wait for that before they take the interface away again; an unbound port of nobody stays DOWN."""
    hub_net, _subnet = gate.net.network()
    inside = gate.net.port(hub_net, device_owner="network:router_interface", device_id="r1")
    plain = gate.net.port(hub_net)
    for port, status in ((inside, "ACTIVE"), (plain, "DOWN")):
        assert (await gate.doc("GET", f"/v2.0/ports/{port['id']}"))["port"]["status"] == status
    shown = (await gate.doc("GET", "/v2.0/ports", params=[("fields", "status"), ("device_id", "r1")]))["ports"]
    assert shown == [{"status": "ACTIVE"}]


async def test_an_unknown_zone_is_neutrons_404(gate: Gate) -> None:
    for path, key in (("networks", "network"), ("routers", "router")):
        with pytest.raises(Fault) as caught:
            await gate.ask("POST", f"/v2.0/{path}", {key: {"name": "n", "availability_zone_hints": ["nowhere"]}})
        assert (caught.value.status, caught.value.kind) == (404, "AvailabilityZoneNotFound")


async def test_malformed_hints_are_the_hubs_to_refuse(gate: Gate) -> None:
    answer = await gate.ask("POST", "/v2.0/networks", {"network": {"name": "n", "availability_zone_hints": [7]}})
    assert answer.status == 404


async def test_hints_of_a_router_change(gate: Gate) -> None:
    made = (await gate.doc("POST", "/v2.0/routers", {"router": {"name": "r", "availability_zone_hints": ["paris"]}}))["router"]
    changed = await gate.doc("PUT", f"/v2.0/routers/{made['id']}", {"router": {"availability_zone_hints": ["tokyo-b"]}})
    assert changed["router"]["availability_zone_hints"] == ["tokyo-b"]
    assert gate.net.hub.rows["routers"][made["id"]]["tags"] == ["cascade.az.0=tokyo-b"]


async def test_tags_neither_show_nor_lose_hints(gate: Gate) -> None:
    made = (await gate.doc("POST", "/v2.0/networks", {"network": {"name": "n", "availability_zone_hints": ["paris"]}}))["network"]
    path = f"/v2.0/networks/{made['id']}"
    assert (await gate.doc("PUT", f"{path}/tags", {"tags": ["mine"]}))["tags"] == ["mine"]
    assert (await gate.doc("GET", f"{path}/tags"))["tags"] == ["mine"]
    assert (await gate.ask("DELETE", f"{path}/tags")).status == 204
    assert (await gate.doc("GET", path))["network"]["availability_zone_hints"] == ["paris"]
    with pytest.raises(Fault) as caught:
        await gate.ask("DELETE", f"{path}/tags/cascade.az.0=paris")
    assert caught.value.status == 404


async def test_nobody_writes_hints_as_tags(gate: Gate) -> None:
    made = (await gate.doc("POST", "/v2.0/networks", {"network": {"name": "n"}}))["network"]
    for method, path, doc in (
        ("PUT", f"/v2.0/networks/{made['id']}/tags", {"tags": ["mine", "cascade.az.0=paris"]}),
        ("POST", f"/v2.0/networks/{made['id']}/tags", {"tags": ["cascade.az.0=paris"]}),
        ("POST", "/v2.0/routers", {"router": {"name": "r", "tags": ["cascade.az.0=paris"]}}),
    ):
        with pytest.raises(Fault) as caught:
            await gate.ask(method, path, doc)
        assert caught.value.status == 400


async def test_links_ask_what_the_client_asked(gate: Gate) -> None:
    view = network._View("port", [("status", "ACTIVE"), ("fields", "name"), ("limit", "1"), ("marker", "old")])
    href = "http://hub/v2.0/ports?fields=name&limit=1&fields=id&fields=status&marker=new"
    doc: Doc = {"ports": [], "ports_links": [{"rel": "next", "href": href}]}
    view.narrow(doc, "ports")
    assert doc["ports_links"][0]["href"] == "http://hub/v2.0/ports?status=ACTIVE&fields=name&limit=1&marker=new"


async def test_zones_are_where_copies_are(gate: Gate) -> None:
    port = await placed(gate)
    assert (await gate.doc("GET", f"/v2.0/networks/{port['network_id']}"))["network"]["availability_zones"] == ["paris"]
    rows = (await gate.doc("GET", "/v2.0/availability_zones", params=[("resource", "router")]))["availability_zones"]
    assert [(r["name"], r["state"]) for r in rows] == [(z, "available") for z in ("paris", "paris-b", "tokyo", "tokyo-b")]


async def test_port_state_is_the_sites(gate: Gate) -> None:
    port = await placed(gate, status="ACTIVE", **{"binding:host_id": "cmp1", "binding:vif_type": "ovs"})
    unbound = {"binding:host_id": "", "binding:vif_type": "unbound", "binding:profile": {"cascade_made": True}}
    gate.net.hub.rows["ports"][port["id"]].update(unbound)
    for doc in ((await gate.doc("GET", "/v2.0/ports"))["ports"], [(await gate.doc("GET", f"/v2.0/ports/{port['id']}"))["port"]]):
        row = next(r for r in doc if r["id"] == port["id"])
        assert (row["status"], row["binding:host_id"], row["binding:vif_type"]) == ("ACTIVE", "cmp1.paris", "ovs")
        assert row["binding:profile"] == {}
    active = (await gate.doc("GET", "/v2.0/ports", params=[("status", "ACTIVE"), ("fields", "name")]))["ports"]
    assert active == [{"name": ""}]
    assert len((await gate.doc("GET", "/v2.0/ports", params=[("status", "DOWN")]))["ports"]) == 1  # the reservation


async def test_a_tenants_port_shows_no_binding(gate: Gate) -> None:
    port = await placed(gate, status="ACTIVE", **{"binding:host_id": "cmp1"})
    assert "binding:host_id" not in (await gate.doc("GET", f"/v2.0/ports/{port['id']}"))["port"]


async def test_a_dead_site_leaves_the_hubs_word(gate: Gate) -> None:
    port = await placed(gate, status="ACTIVE")
    gate.net.down.add("paris")
    assert (await gate.doc("GET", f"/v2.0/ports/{port['id']}"))["port"]["status"] == "DOWN"


async def test_floating_ips_show_the_sites_status(gate: Gate) -> None:
    net = gate.net
    hub_net, subnet = net.network()
    net.router(hub_net, subnet)
    port = net.port(hub_net)
    copy = await net.networks.materialise_port("tokyo", port, caller())
    net.tokyo.rows["ports"][copy]["status"] = "ACTIVE"
    body = {"floating_network_id": net.hub.external, "floating_ip_address": "203.0.113.9", "project_id": "p1",
            "port_id": port["id"], "port_details": {"status": "DOWN"}}  # fmt: skip
    made = (await gate.doc("POST", "/v2.0/floatingips", {"floatingip": body}))["floatingip"]
    await net.settle()
    shown = (await gate.doc("GET", f"/v2.0/floatingips/{made['id']}"))["floatingip"]
    assert (shown["status"], shown["port_details"]["status"]) == ("ACTIVE", "ACTIVE")
    assert (await gate.ask("DELETE", f"/v2.0/floatingips/{made['id']}")).status == 204
    await net.settle()
    assert not net.tokyo.rows["floatingips"]


async def test_rules_follow_and_leave_no_mark(gate: Gate) -> None:
    net = gate.net
    hub_net, _subnet = net.network()
    group = net.group()
    await net.networks.materialise_port("paris", net.port(hub_net, group), caller())
    await net.settle()
    rules = [{"security_group_id": group["id"], "direction": "ingress", "protocol": p} for p in ("tcp", "udp")]
    made = await gate.doc("POST", "/v2.0/security-group-rules", {"security_group_rule": rules[0]})
    assert await net.store.intents.pending(verb="network.sync")
    await net.settle()
    copy = net.paris.only("security-groups", name="web")
    assert [r["protocol"] for r in copy["security_group_rules"] if r["direction"] == "ingress"] == ["tcp"]
    await gate.ask("DELETE", f"/v2.0/security-group-rules/{made['security_group_rule']['id']}")
    await net.settle()
    assert len(net.paris.only("security-groups", name="web")["security_group_rules"]) == 2
    assert not await net.store.intents.pending(verb="network.sync")


async def test_what_the_hub_refuses_changes_nothing(gate: Gate) -> None:
    port = await placed(gate)
    answer = await gate.ask("DELETE", f"/v2.0/networks/{port['network_id']}")
    assert answer.status == 409 and b"NetworkInUse" in answer.body
    await gate.net.settle()
    assert gate.net.paris.copies("networks") and not await gate.net.store.intents.pending(verb="network.sync")


async def test_a_delete_reaches_the_site(gate: Gate) -> None:
    port = await placed(gate)
    assert (await gate.ask("DELETE", f"/v2.0/ports/{port['id']}")).status == 204
    assert (await gate.ask("DELETE", f"/v2.0/networks/{port['network_id']}")).status == 204
    await gate.net.settle()
    assert not gate.net.paris.copies("ports") and not gate.net.paris.copies("networks")
    assert not gate.net.hub.rows["ports"]


async def test_a_bound_ports_mac_stays(gate: Gate) -> None:
    hub_net, _ = gate.net.network()
    port = gate.net.port(hub_net)
    path, body = f"/v2.0/ports/{port['id']}", {"port": {"mac_address": "FA:16:3E:7A:00:01"}}
    made = gate.net.paris.rows["ports"][await gate.net.networks.materialise_port("paris", port, caller())]
    made["device_id"] = "a server"
    with pytest.raises(Fault) as refused:
        await gate.doc("PUT", path, body)
    assert (refused.value.status, refused.value.kind) == (409, "PortBound")
    await gate.doc("PUT", path, {"port": {"mac_address": port["mac_address"].upper()}})  # the one it has
    made["device_id"] = ""
    await gate.doc("PUT", path, body)
    await gate.net.settle()
    assert made["mac_address"].lower() == "fa:16:3e:7a:00:01"


async def test_without_the_hubs_verdict_the_mark_stays(gate: Gate) -> None:
    port = await placed(gate)
    gate.net.hub.after = lambda method, path: gate.net.down.add("hub")  # asked what the port is, it dies before the write
    with pytest.raises(SiteUnreachable):
        await gate.ask("PUT", f"/v2.0/ports/{port['id']}", {"port": {"name": "maybe"}})
    assert await gate.net.store.intents.pending(verb="network.sync")


async def test_agents_are_the_sites_for_administrators(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(core: Any, req: Request, key: str) -> Response:
        return Response.of({key: ["all"]})

    monkeypatch.setattr(network, "concatenated", both)
    assert (await gate.doc("GET", "/v2.0/agents", admin=True)) == {"agents": ["all"]}
    assert (await gate.ask("GET", "/v2.0/agents")).status == 404  # the fake hub's own word


async def test_a_floating_ip_goes_to_ports_of_its_zones_only(gate: Gate) -> None:
    """Refused in Neutron's own way where the external network is another site's; a port that is nowhere yet can have it."""
    gate.net.hub.rows["networks"][gate.net.hub.external]["tags"] = ["cascade.az.0=tokyo"]
    port = await placed(gate, "paris")
    wanted = {"floating_network_id": gate.net.hub.external, "floating_ip_address": "203.0.113.9", "project_id": "p1"}
    with pytest.raises(Fault, match="not reachable from port") as caught:
        await gate.ask("POST", "/v2.0/floatingips", {"floatingip": {**wanted, "port_id": port["id"]}})
    assert (caught.value.status, caught.value.kind) == (404, "ExternalGatewayForFloatingIPNotFound")
    made = (await gate.doc("POST", "/v2.0/floatingips", {"floatingip": wanted}))["floatingip"]
    path = f"/v2.0/floatingips/{made['id']}"
    with pytest.raises(Fault):
        await gate.ask("PUT", path, {"floatingip": {"port_id": port["id"]}})
    nowhere = gate.net.port(gate.net.hub.rows["networks"][port["network_id"]])
    for target in (nowhere["id"], None):
        shown = (await gate.doc("PUT", path, {"floatingip": {"port_id": target}}))["floatingip"]
        assert shown["port_id"] == target


async def test_what_cascade_keeps_for_itself_is_not_shown(gate: Gate) -> None:
    """Bridge networks, to nobody; somebody else's network with the same words is his."""
    about = {"description": "cascade.bridge:r"}
    bridge = gate.net.hub.add("networks", {"name": "cascade-bridge", **about})
    subnet = gate.net.hub.add("subnets", {"network_id": bridge["id"], "cidr": "100.64.0.0/22", "ip_version": 4, **about})
    port = gate.net.hub.add("ports", {"network_id": bridge["id"], "fixed_ips": [], **about})
    his, _subnet = gate.net.network("his", **about)
    for path, row in (("networks", bridge), ("subnets", subnet), ("ports", port)):
        shown = (await gate.doc("GET", f"/v2.0/{path}", params=[("fields", "id")], admin=True))[path]
        assert row["id"] not in {r["id"] for r in shown} and all(r.keys() == {"id"} for r in shown)
        with pytest.raises(Fault) as caught:
            await gate.ask("GET", f"/v2.0/{path}/{row['id']}", admin=True)
        assert caught.value.status == 404
    assert (await gate.doc("GET", f"/v2.0/networks/{his['id']}"))["network"]["id"] == his["id"]


async def test_forwardings_stand_where_their_ports_do(gate: Gate) -> None:
    """Made, changed and removed at the site; a port of another site is refused beside them."""
    hub_net, subnet = gate.net.network()
    router = gate.net.router(hub_net, subnet)
    ports = [gate.net.port(hub_net) for _ in range(3)]
    for site, port in zip(("paris", "paris", "tokyo"), ports, strict=True):
        await gate.net.networks.materialise_port(site, port, caller())
    wanted = {"floating_network_id": gate.net.hub.external, "floating_ip_address": "203.0.113.9", "project_id": "p1"}
    made = (await gate.doc("POST", "/v2.0/floatingips", {"floatingip": wanted}))["floatingip"]
    gate.net.hub.rows["floatingips"][made["id"]]["router_id"] = router["id"]
    path = f"/v2.0/floatingips/{made['id']}/port_forwardings"

    def body(port: Doc, external: int) -> Doc:
        inside = {"internal_port_id": port["id"], "internal_ip_address": port["fixed_ips"][0]["ip_address"], "internal_port": 80}
        return {"port_forwarding": {"protocol": "tcp", "external_port": external, **inside}}

    first = (await gate.doc("POST", path, body(ports[0], 8080)))["port_forwarding"]
    await gate.doc("POST", path, body(ports[1], 8081))
    with pytest.raises(Fault, match="one zone") as caught:
        await gate.ask("POST", path, body(ports[2], 8082))
    assert caught.value.status == 409
    await gate.net.settle()
    copy = gate.net.paris.only("floatingips", floating_ip_address="203.0.113.9")
    assert not gate.net.tokyo.copies("floatingips") and copy["port_id"] is None
    here = {p.hub_id: p.site_id for p in await gate.net.store.pairs.copies("port", [p["id"] for p in ports])}
    assert {(f["external_port"], f["internal_port_id"]) for f in copy["port_forwardings"]} == {
        (8080, here[ports[0]["id"]]), (8081, here[ports[1]["id"]]),
    }  # fmt: skip
    await gate.doc("PUT", f"{path}/{first['id']}", {"port_forwarding": {"external_port": 9090}})
    await gate.net.settle()
    assert {f["external_port"] for f in copy["port_forwardings"]} == {9090, 8081}
    for row in (await gate.doc("GET", f"/v2.0/floatingips/{made['id']}"))["floatingip"]["port_forwardings"]:
        await gate.doc("DELETE", f"{path}/{row['id']}")
    await gate.net.settle()
    assert not gate.net.paris.copies("floatingips")
