"""Routers whose zone hints name one site stay there: their networks come to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import Fault
from tests.unit.network_fake import ME, Cloud, Net

HINT = ["cascade.az.0=paris"]
INTERFACE = "network:router_interface"


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


def inside(cloud: Cloud) -> set[str]:
    """Addresses of router interfaces there."""
    ports = [p for p in cloud.rows["ports"].values() if p["device_owner"] == INTERFACE]
    return {f["ip_address"] for p in ports for f in p["fixed_ips"]}


async def test_the_network_comes_to_its_router(net: Net) -> None:
    """Guests are told the hub's gateway address in both sites; it is answered in the router's alone."""
    hub_net, subnet = net.network()
    router = net.router(hub_net, subnet, tags=HINT)
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert not net.paris.copies("routers")  # nothing to route yet
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    await net.settle()
    assert inside(net.paris) == {"10.0.0.1"} and not net.tokyo.copies("routers")
    assert [net.paris.only("subnets", name="net")["gateway_ip"], net.tokyo.only("subnets", name="net")["gateway_ip"]] == [
        "10.0.0.1"
    ] * 2


async def test_hints_given_later_move_the_router(net: Net) -> None:
    hub_net, subnet = net.network()
    router = net.router(hub_net, subnet)
    for site in ("tokyo", "paris"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    await net.settle()
    assert inside(net.tokyo) == {"10.0.0.1"} and inside(net.paris) not in ({"10.0.0.1"}, set())  # at home in tokyo
    net.hub.rows["routers"][router["id"]]["tags"] = HINT
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert inside(net.paris) == {"10.0.0.1"} and not net.tokyo.copies("routers")
    assert net.tokyo.only("subnets", name="net")["gateway_ip"] == "10.0.0.1"
    net.hub.rows["routers"][router["id"]]["tags"] = []  # and back: at home where it was
    await net.networks.sync("router", router["id"])
    await net.settle()
    there = inside(net.tokyo)
    assert inside(net.paris) == {"10.0.0.1"} and there not in ({"10.0.0.1"}, set())
    assert {net.tokyo.only("subnets", name="net")["gateway_ip"]} == there


async def test_a_deleted_router_leaves_nothing_known(net: Net) -> None:
    hub_net, subnet = net.network()
    router = net.router(hub_net, subnet, tags=HINT)
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    await net.settle()
    for port in [p for p in net.hub.rows["ports"].values() if p["device_id"] == router["id"]]:
        del net.hub.rows["ports"][port["id"]]
    del net.hub.rows["routers"][router["id"]]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert not net.paris.copies("routers") and not inside(net.paris)
    assert await net.networks._networks.pinned.site(hub_net["id"]) is None
    assert await net.store.docs.get(f"router.pins/{router['id']}") is None


async def test_what_cannot_come_is_refused(net: Net) -> None:
    """A network hinted to another site; one where nothing joins the two."""
    router = net.hub.add("routers", {"name": "r", "project_id": "p1", "tags": HINT})
    elsewhere, _ = net.network(tags=["cascade.az.0=tokyo"])
    with pytest.raises(Fault, match="stays in availability zone tokyo") as caught:
        await net.networks.may_route(router, elsewhere["id"])
    assert caught.value.status == 409
    await net.networks.may_route({**router, "tags": []}, elsewhere["id"])
    free, _ = net.network("free", "10.1.0.0/24")
    await net.networks.may_route(router, free["id"])
    await net.store.sites.update("tokyo", options={"interconnect": "none"})
    await net.sites.reload()
    await net.networks.materialise_port("tokyo", net.port(free), ME)
    with pytest.raises(Fault, match="nothing joins networks there with paris"):
        await net.networks.may_route(router, free["id"])


async def test_a_floating_ip_is_where_its_router_is(net: Net) -> None:
    hub_net, subnet = net.network()
    router = net.router(hub_net, subnet, tags=HINT)
    ports: dict[str, Any] = {site: net.port(hub_net) for site in ("paris", "tokyo")}
    for site, port in ports.items():
        await net.networks.materialise_port(site, port, ME)
    await net.settle()
    await net.networks.may_float(net.hub.external, ports["paris"]["id"])
    with pytest.raises(Fault, match="is in availability zone paris, and so") as caught:
        await net.networks.may_float(net.hub.external, ports["tokyo"]["id"])
    assert (caught.value.status, caught.value.kind) == (404, "ExternalGatewayForFloatingIPNotFound")
    body = {"floating_network_id": net.hub.external, "floating_ip_address": "203.0.113.9", "project_id": "p1"}
    made = net.hub.add("floatingips", {**body, "port_id": ports["tokyo"]["id"], "fixed_ip_address": "10.0.0.3"})
    made["router_id"] = router["id"]
    await net.networks.sync("floating_ip", made["id"])
    await net.settle()
    assert not net.tokyo.copies("floatingips") and not net.tokyo.copies("routers")
