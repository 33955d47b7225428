"""IPv6 beside IPv4 on a network of two sites, behind a router: addresses from the router's announcements."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lab.endpoints import capture
from tests.packets.stage import SITES, Guest, Stage, reaches

HOPS = {4: 64, 6: 255}
"""Left when no router was on the way: Linux' own default, and what the router's announcement tells its guests."""


@dataclass
class Dual:
    """A network with both, and its guests."""

    net: str
    router: str
    guests: list[Guest]
    announced: list[str | None]


@pytest.fixture(scope="module")
def dual(stage: Stage) -> Dual:
    """SLAAC for IPv6, DHCP for IPv4."""
    tenant = stage.tenant
    net = tenant.network("10.44.0.0/24")["id"]
    tenant.make(
        "subnets", "subnet", network_id=net, ip_version=6, cidr="fd00:44::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac"
    )
    router = stage.router(net)
    group = stage.group("icmp", "tcp")
    for protocol in ("ipv6-icmp", "tcp"):
        stage.admit(group, protocol=protocol, ethertype="IPv6")
    guests = stage.leased(net, "paris", "tokyo", groups=[group])
    return Dual(net, router, guests, [g.end.announced(30) for g in guests])


def test_the_announced_address_is_the_hubs(dual: Dual) -> None:
    """What follows from prefix and MAC is what the hub's port has."""
    assert [[a] for a in dual.announced] == [g.addresses(6) for g in dual.guests]


def test_one_router_announces(dual: Dual, stage: Stage) -> None:
    """Guests of both sites ask for routers, and all that answers is the router of one site, over the WAN too."""
    speakers = set()
    for guest in dual.guests:
        with capture(guest.end.namespace, guest.end.device, ("icmp6",)) as seen:
            for value in (1, 0):  # its addresses go, and it asks anew
                guest.end.execute("sysctl", "-qw", f"net.ipv6.conf.{guest.end.device}.disable_ipv6={value}")
            assert guest.end.announced(30) == guest.addresses(6)[0]
        said = {line.split()[1] for line in seen if "router advertisement" in line}
        assert said, seen
        speakers |= said
    routers = {p["mac_address"]: site for site in SITES for p in stage.insides(site, dual.router)}
    assert len(speakers) == 1 and speakers <= set(routers), (speakers, routers)


@pytest.mark.parametrize("version", [4, 6])
def test_both_ways(dual: Dual, version: int) -> None:
    """Over either protocol, from either site."""
    for one, two in (dual.guests, dual.guests[::-1]):
        assert one.end.ping(two.addresses(version)[0]) == HOPS[version]
        heard = reaches(one, two, version=version)
        assert heard is not None and (heard.peer, heard.size) == (one.addresses(version)[0], 1_000_000)
