"""A router whose networks stand in different sites: they meet on a bridge network that no tenant sees."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.reconcile.net import reach
from tests.unit.network_fake import ME, Cloud, Net, error

Doc = dict[str, Any]
INTERFACE = "network:router_interface"


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


def plug(net: Net, router: Doc, network: Doc, subnet: Doc) -> Doc:
    """One more interface of the hub's router."""
    fixed = [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}]
    owner = {"device_id": router["id"], "device_owner": INTERFACE, "project_id": "p1"}
    return net.hub.add("ports", {"network_id": network["id"], "fixed_ips": fixed, **owner})


def routes(cloud: Cloud) -> dict[str, str]:
    """Of the one router there."""
    (router,) = cloud.copies("routers")
    return {r["destination"]: r["nexthop"] for r in router["routes"]}


def bridged(cloud: Cloud) -> list[str]:
    """Addresses the site's router has on its bridge."""
    (router,) = cloud.copies("routers")
    nets = {n["id"] for n in cloud.rows["networks"].values() if n["name"] == "cascade-bridge"}
    ports = [p for p in cloud.rows["ports"].values() if p["device_id"] == router["id"] and p["network_id"] in nets]
    return [f["ip_address"] for p in ports for f in p["fixed_ips"]]


def bridges(net: Net) -> list[int]:
    """How many bridge networks stand at hub, paris and tokyo."""
    return [sum(n["name"] == "cascade-bridge" for n in c.rows["networks"].values()) for c in (net.hub, net.paris, net.tokyo)]


async def apart(net: Net) -> tuple[Doc, list[Doc]]:
    """A router over two networks, one in each site; returns it and its interfaces."""
    one, one_sub = net.network("one", "10.1.0.0/24")
    two, two_sub = net.network("two", "10.2.0.0/24")
    router = net.router(one, one_sub)
    inside = [net.hub.only("ports", network_id=one["id"]), plug(net, router, two, two_sub)]
    await net.networks.materialise_port("paris", net.port(one), ME)
    await net.networks.materialise_port("tokyo", net.port(two), ME)
    await net.settle()
    return router, inside


async def test_one_route_per_far_subnet_over_the_bridge(net: Net) -> None:
    await apart(net)
    assert bridges(net) == [1, 1, 1]
    (paris,), (tokyo,) = bridged(net.paris), bridged(net.tokyo)
    assert paris != tokyo and paris.startswith("100.64.")
    assert routes(net.paris) == {"10.2.0.0/24": tokyo} and routes(net.tokyo) == {"10.1.0.0/24": paris}
    segments = {n["provider:segmentation_id"] for c in (net.hub, net.paris, net.tokyo) for n in c.rows["networks"].values()
                if n["name"] == "cascade-bridge"}  # fmt: skip
    assert len(segments) == 1


async def test_nothing_of_it_is_the_tenants(net: Net) -> None:
    router, _inside = await apart(net)
    shown = net.hub.rows["routers"][router["id"]]
    assert shown["routes"] == []
    own = [p for p in net.hub.rows["ports"].values() if p["device_id"] == router["id"]]
    assert len(own) == 2
    bridge = net.hub.only("networks", name="cascade-bridge")
    inside = [p for p in net.hub.rows["ports"].values() if p["network_id"] == bridge["id"]]
    assert {bridge["project_id"], *(p["project_id"] for p in inside)} == {"svc"}


async def test_a_network_that_stands_in_both_sites_needs_no_route(net: Net) -> None:
    router, inside = await apart(net)
    one = net.hub.rows["networks"][inside[0]["network_id"]]
    await net.networks.materialise_port("tokyo", net.port(one), ME)
    await net.settle()
    # Two stands in tokyo alone, and paris still has to get there.
    assert set(routes(net.paris)) == {"10.2.0.0/24"} and routes(net.tokyo) == {}
    two = net.hub.rows["networks"][inside[1]["network_id"]]
    await net.networks.materialise_port("paris", net.port(two), ME)
    await net.settle()
    assert routes(net.paris) == routes(net.tokyo) == {} and bridges(net) == [0, 0, 0]
    assert not net.hub.rows["routers"][router["id"]]["routes"]


async def test_the_bridge_goes_with_its_reason(net: Net) -> None:
    router, inside = await apart(net)
    del net.hub.rows["ports"][inside[1]["id"]]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert bridges(net) == [0, 0, 0] and routes(net.paris) == routes(net.tokyo) == {}
    assert not bridged(net.paris)


async def test_the_bridge_goes_with_its_router(net: Net) -> None:
    router, inside = await apart(net)
    for port in inside:
        del net.hub.rows["ports"][port["id"]]
    del net.hub.rows["routers"][router["id"]]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert bridges(net) == [0, 0, 0] and not net.paris.copies("routers") and not net.tokyo.copies("routers")
    assert not [p for p in net.hub.rows["ports"].values() if p["device_id"] == "cascade-paris-router"]


async def test_the_tenants_routes_are_kept_and_lead_to_their_next_hop(net: Net) -> None:
    router, _inside = await apart(net)
    router["routes"] = [{"destination": "192.168.0.0/16", "nexthop": "10.1.0.9"}]
    await net.networks.sync("router", router["id"])
    await net.settle()
    (paris,) = bridged(net.paris)
    assert routes(net.paris)["192.168.0.0/16"] == "10.1.0.9"
    assert routes(net.tokyo) == {"192.168.0.0/16": paris, "10.1.0.0/24": paris}
    router["routes"] = []
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert set(routes(net.paris)) == {"10.2.0.0/24"} and set(routes(net.tokyo)) == {"10.1.0.0/24"}


async def test_a_next_hop_nobody_knows_costs_no_other_route(net: Net) -> None:
    router, _inside = await apart(net)
    router["routes"] = [{"destination": "192.168.0.0/16", "nexthop": "203.0.113.9"}]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert set(routes(net.paris)) == {"10.2.0.0/24"}


async def test_a_subnet_added_later_is_reached(net: Net) -> None:
    router, _inside = await apart(net)
    three, three_sub = net.network("three", "10.3.0.0/24")
    await net.networks.materialise_port("tokyo", net.port(three), ME)
    plug(net, router, three, three_sub)
    await net.networks.sync("router", router["id"])
    await net.settle()
    (tokyo,) = bridged(net.tokyo)
    assert routes(net.paris) == {"10.2.0.0/24": tokyo, "10.3.0.0/24": tokyo}


async def test_the_bridge_makes_way_for_a_subnet_with_its_addresses(net: Net) -> None:
    router, _inside = await apart(net)
    old = net.hub.only("networks", name="cascade-bridge")["id"]
    three, three_sub = net.network("three", "100.64.0.0/24")
    plug(net, router, three, three_sub)
    await net.networks.materialise_port("tokyo", net.port(three), ME)
    await net.settle()
    assert net.hub.only("networks", name="cascade-bridge")["id"] != old and bridges(net) == [1, 1, 1]
    (tokyo,) = bridged(net.tokyo)
    assert routes(net.paris)["100.64.0.0/24"] == tokyo and not tokyo.startswith("100.64.0.")


async def test_ipv6_has_its_own_next_hop(net: Net) -> None:
    router, inside = await apart(net)
    body = {"network_id": inside[1]["network_id"], "cidr": "fd00:2::/64", "ip_version": 6, "name": "six", "project_id": "p1"}
    plug(net, router, net.hub.rows["networks"][inside[1]["network_id"]], net.hub.add("subnets", body))
    await net.networks.sync("router", router["id"])
    await net.settle()
    over = routes(net.paris)
    assert set(over) == {"10.2.0.0/24", "fd00:2::/64"} and over["fd00:2::/64"] in bridged(net.tokyo)


async def test_a_site_that_is_down_gets_it_later(net: Net) -> None:
    router, inside = await apart(net)
    net.down.add("tokyo")
    del net.hub.rows["ports"][inside[1]["id"]]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert routes(net.paris) == {} and bridges(net)[0] == 1, "the hub's goes when no site uses it any more"
    net.down.clear()
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert bridges(net) == [0, 0, 0]


@pytest.mark.parametrize("at", ["hub", "paris", "tokyo"])
async def test_every_call_may_fail_once(net: Net, at: str) -> None:
    """Make, change and take away; each time the next call of one cloud fails after its work is done, or before."""
    cloud = {"hub": net.hub, "paris": net.paris, "tokyo": net.tokyo}[at]
    plain, turn = cloud.serve, itertools.count()

    def flaky(method: str, path: str, *rest: Any) -> Any:
        number = next(turn)
        if number % 3 == 1:
            return error(503, "ServiceUnavailable")
        answer = plain(method, path, *rest)
        return error(503, "ServiceUnavailable") if number % 3 == 2 and number % 2 else answer

    one, one_sub = net.network("one", "10.1.0.0/24")
    two, two_sub = net.network("two", "10.2.0.0/24")
    await net.networks.materialise_port("paris", net.port(one), ME)
    await net.networks.materialise_port("tokyo", net.port(two), ME)
    router = net.router(one, one_sub)
    second = plug(net, router, two, two_sub)

    async def converge() -> None:
        await net.networks.sync("router", router["id"])
        cloud.serve = flaky  # type: ignore[method-assign]
        for _ in range(60):
            net.networks.queue.hurry(lambda key: True)
            await net.networks.queue.drain()
            if not len(net.networks.queue):
                break
        cloud.serve = plain  # type: ignore[method-assign]
        net.networks.queue.hurry(lambda key: True)
        await net.settle()

    await converge()
    assert bridges(net) == [1, 1, 1] and set(routes(net.paris)) == {"10.2.0.0/24"} and set(routes(net.tokyo)) == {"10.1.0.0/24"}
    assert len(bridged(net.paris)) == len(bridged(net.tokyo)) == 1
    del net.hub.rows["ports"][second["id"]]
    await converge()
    assert bridges(net) == [0, 0, 0] and routes(net.paris) == routes(net.tokyo) == {}


def test_all_sites_agree_on_the_way() -> None:
    where = {"a": {"paris", "tokyo"}, "b": {"osaka", "tokyo"}, "c": set()}
    assert reach.ways(where, {"a": "tokyo", "b": "paris"}) == {
        "paris": {"b": "osaka"}, "osaka": {"a": "tokyo"},
    }  # fmt: skip
    assert reach.met(reach.ways(where, {})) == {"paris", "osaka"}
    assert reach.free(["100.64.0.0/22", "100.64.4.0/22"], ["100.64.0.0/16"]) is None
    assert reach.free(["100.64.0.0/22", "100.64.4.0/22"], ["100.64.1.0/24", "fd00::/8"]) == "100.64.4.0/22"


async def test_a_port_that_was_never_plugged_is_not_forgotten(net: Net) -> None:
    """The site took the port and refused the plugging; then the interface is taken off at the hub and put on anew."""
    hub_net, subnet = net.network()
    router = net.router(hub_net, subnet)
    plain = net.paris._verb

    def refuse(row: Doc, verb: str, doc: Any) -> Any:
        return error(503, "ServiceUnavailable") if verb == "add_router_interface" else plain(row, verb, doc)

    net.paris._verb = refuse  # type: ignore[method-assign]
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    await net.networks.queue.drain()
    first = net.hub.only("ports", device_owner=INTERFACE)
    half = net.paris.only("ports", description=f"cascade:{first['id']}")
    assert half["device_id"] == ""
    del net.hub.rows["ports"][first["id"]]
    second = plug(net, router, hub_net, subnet)
    net.paris._verb = plain  # type: ignore[method-assign]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert half["id"] not in net.paris.rows["ports"]
    assert net.paris.only("ports", description=f"cascade:{second['id']}")["device_owner"] == INTERFACE
