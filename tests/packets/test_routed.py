"""One router over networks in different sites: its guests meet over a bridge network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import wires
from lab.endpoints import capture
from tests.lab.rest import Cloud
from tests.lab.test_network import copy, rows, until
from tests.packets.stage import SITES, Guest, Stage, denied, reaches, soon

CIDRS = {"paris": "10.45.1.0/24", "tokyo": "10.45.2.0/24"}
NAME = "cascade-bridge"


@dataclass
class Routed:
    """A network in each site, a router with both, a guest on each."""

    router: str
    nets: dict[str, str]
    guests: list[Guest]


def routes(stage: Stage, site: str, router: str) -> dict[str, str]:
    """Destination -> next hop, at a site's copy of the router."""
    here = copy(stage.clouds[f"{site}-admin"], "routers", router)
    return {r["destination"]: r["nexthop"] for r in here["routes"]} if here else {}


def bridges(cloud: Cloud, router: str) -> list[dict[str, object]]:
    """The hub's bridge network of a router."""
    return rows(cloud, "networks", description=f"cascade.bridge:{router}")


def both_lead(stage: Stage, router: str) -> None:
    """Wait until each site's router knows the way to the other's subnet."""
    for site, other in (SITES, SITES[::-1]):
        assert until(lambda s=site, o=other: CIDRS[o] in routes(stage, s, router), 120), site  # type: ignore[misc]


@pytest.fixture(scope="module")
def routed(stage: Stage) -> Iterator[Routed]:
    """Interfaces first, guests after; afterwards nothing of the bridge is left anywhere."""
    tenant = stage.tenant
    nets = {site: str(tenant.network(cidr)["id"]) for site, cidr in CIDRS.items()}
    router = stage.router(nets["paris"])
    stage.connect(router, nets["tokyo"])
    group = stage.group("icmp", "tcp")
    guests = [g for site in SITES for g in stage.leased(nets[site], site, groups=[group])]
    both_lead(stage, router)
    yield Routed(router, nets, guests)


def test_both_ways_over_two_routers(routed: Routed) -> None:
    """Ping and TCP; the address at the other end is the guest's own: nothing is translated on the way."""
    for one, two in (routed.guests, routed.guests[::-1]):
        assert soon(lambda a=one, b=two: a.end.ping(b.address), 20) == 62  # type: ignore[misc]
        heard = reaches(one, two)
        assert heard is not None and (heard.peer, heard.size) == (one.address, 1_000_000)


def test_the_tenant_sees_nothing_of_it(routed: Routed, stage: Stage) -> None:
    """Not in the router, its ports, or the networks."""
    cloud = stage.tenant.cloud
    assert rows(cloud, "routers", id=routed.router)[0]["routes"] == []
    assert {p["network_id"] for p in rows(cloud, "ports", device_id=routed.router)} == set(routed.nets.values())
    assert not [n for n in rows(cloud, "networks") if n["name"] == NAME]


def test_the_administrator_sees_nothing_of_it(routed: Routed, stage: Stage, admin: Cloud) -> None:
    """Neither network nor subnet nor addresses, though the hub has them."""
    (bridge,) = bridges(stage.clouds["hub"], routed.router)
    for path, params in (("networks", {"id": bridge["id"]}), ("subnets", {"network_id": bridge["id"]}),
                         ("ports", {"network_id": bridge["id"]})):  # fmt: skip
        assert rows(stage.clouds["hub"], path, **params)
        assert not rows(admin, path, **params), path
    assert admin("network", "GET", f"/v2.0/networks/{bridge['id']}").status == 404


def test_packets_to_the_other_carry_the_bridges_tag(routed: Routed, stage: Stage) -> None:
    """The hub's segment of the bridge, at either site's wire."""
    (bridge,) = bridges(stage.clouds["hub"], routed.router)
    tag = bridge["provider:segmentation_id"]
    one, two = routed.guests
    for site in SITES:
        with capture(wires.WAN, site) as seen:
            assert one.end.ping(two.address) == 62
        between = [line for line in seen if one.address in line and two.address in line]
        assert len(between) >= 2 and all(f"vlan {tag}," in line for line in between), seen


def test_the_way_ends_with_the_interface(routed: Routed, stage: Stage) -> None:
    """Taken off the router, a network is not reached any more, and the bridge is gone; put back, it is."""
    one, two = routed.guests
    stage.disconnect(routed.router, routed.nets["tokyo"])
    assert denied(one, two, seconds=30)
    hub = stage.clouds["hub"]
    assert until(lambda: not bridges(hub, routed.router)) is True
    for site in SITES:
        assert until(lambda s=site: not rows(stage.clouds[f"{s}-admin"], "networks", name=NAME)) is True  # type: ignore[misc]
    stage.connect(routed.router, routed.nets["tokyo"])
    both_lead(stage, routed.router)
    heard = reaches(one, two, seconds=60)
    assert heard is not None and heard.peer == one.address
