"""Routers on networks that have IPv6 beside IPv4: Neutron gives each port an address of a SLAAC subnet, asked or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.network_fake import ME, Net

Doc = dict[str, Any]
INTERFACE = "network:router_interface"


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


def dual(net: Net) -> tuple[Doc, Doc, list[Doc]]:
    """A hub network with both versions, its router with an interface for each, and those interfaces."""
    hub_net, four = net.network()
    body = {"network_id": hub_net["id"], "cidr": "fd00:1::/64", "ip_version": 6, "name": "six", "project_id": "p1",
            "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}  # fmt: skip
    six = net.hub.add("subnets", body)
    router = net.router(hub_net, four)
    owner = {"device_id": router["id"], "device_owner": INTERFACE, "project_id": "p1"}
    fixed = [{"subnet_id": six["id"], "ip_address": six["gateway_ip"]}]
    net.hub.add("ports", {"network_id": hub_net["id"], "fixed_ips": fixed, **owner})
    return hub_net, router, [p for p in net.hub.rows["ports"].values() if p["device_owner"] == INTERFACE]


async def test_each_interface_has_its_own_address_and_no_other(net: Net) -> None:
    hub_net, _router, inside = dual(net)
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    await net.settle()
    for cloud, home in ((net.paris, True), (net.tokyo, False)):
        for port in inside:
            copy = cloud.only("ports", description=f"cascade:{port['id']}")
            assert copy["device_owner"] == INTERFACE and len(copy["fixed_ips"]) == 1
            assert (copy["fixed_ips"][0]["ip_address"] == port["fixed_ips"][0]["ip_address"]) is home
            assert {p.site_id for p in await net.store.pairs.of_hub("port", port["id"]) if p.site == cloud.name} == {copy["id"]}
        assert cloud.only("routers", name="r")["external_gateway_info"]


async def test_one_site_announces(net: Net) -> None:
    """The first where it stands; elsewhere guests still have the addresses that follow from their MACs."""
    hub_net, _router, _inside = dual(net)
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    port = net.port(hub_net)
    made = await net.networks.materialise_port("paris", port, ME)
    await net.settle()
    modes = {c.name: c.only("subnets", name="six")["ipv6_ra_mode"] for c in (net.paris, net.tokyo)}
    assert modes == {"paris": None, "tokyo": "slaac"}
    assert {f["ip_address"] for f in net.paris.rows["ports"][made]["fixed_ips"]} == {f["ip_address"] for f in port["fixed_ips"]}
    again = net.port(hub_net)
    assert await net.networks.materialise_port("paris", again, ME) in net.paris.rows["ports"]


async def test_a_lost_database_changes_no_announcer(net: Net) -> None:
    hub_net, _router, _inside = dual(net)
    for site in ("tokyo", "paris"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    six = net.hub.only("subnets", name="six")
    for first in ("paris", "tokyo"):
        await net.store.docs.drop(f"subnet.announcer/{six['id']}")
        assert await net.networks._networks.announces(first, six) is (first == "tokyo")
        assert await net.networks._networks.announces("tokyo", six) is True


async def test_an_interface_of_an_interrupted_try_is_taken_over(net: Net) -> None:
    hub_net, router, inside = dual(net)
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    await net.settle()
    before = {p["id"] for p in net.paris.rows["ports"].values() if p["device_owner"] == INTERFACE}
    for port in inside:  # made, and the process died before it could write whose copy it is
        net.paris.only("ports", description=f"cascade:{port['id']}")["description"] = ""
        await net.store.pairs.drop("port", port["id"], "paris")
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert {p["id"] for p in net.paris.copies("ports") if p["device_owner"] == INTERFACE} == before


async def test_the_address_held_for_a_site_stays_the_same(net: Net) -> None:
    """A port that holds an IPv4 address gets one of the SLAAC subnet too: not the one held there."""
    dual(net)
    four, six = (net.hub.only("subnets", cidr=c) for c in ("10.0.0.0/24", "fd00:1::/64"))
    reserve = net.networks._networks.reserve
    both = [await reserve("paris", s, router=True) for s in (six, four)]
    net.hub.rows["ports"] = dict(reversed(net.hub.rows["ports"].items()))
    assert [await reserve("paris", s, router=True) for s in (six, four)] == both
    at_once = await asyncio.gather(*(reserve("tokyo", s, router=True) for s in (six, four)))
    net.hub.rows["ports"] = dict(reversed(net.hub.rows["ports"].items()))
    assert [await reserve("tokyo", s, router=True) for s in (six, four)] == at_once
