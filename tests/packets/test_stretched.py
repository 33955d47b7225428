"""One network, servers in two sites: one segment, whichever site a frame comes from."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lab import wires
from lab.endpoints import Lease, capture
from tests.packets.stage import QUICKLY, SITES, Guest, Stage, denied, reaches

CIDR = "10.40.0.0/24"


@dataclass
class Segment:
    """A network and its guests, one in each site."""

    net: str
    group: str
    guests: list[Guest]
    leases: list[Lease | None]
    seen: list[str]
    """What the WAN saw while the guests asked for their addresses."""


@pytest.fixture(scope="module")
def segment(stage: Stage) -> Segment:
    """ICMP is let in, TCP is not."""
    net, group = stage.tenant.network(CIDR)["id"], stage.group("icmp")
    guests = stage.boot(net, "paris", "tokyo", groups=[group])
    with capture(wires.WAN, "trunk") as seen:
        leases = [guest.end.lease() for guest in guests]
        guests[0].end.ping(guests[1].address)
    return Segment(net, group, guests, leases, seen)


def test_a_lease_is_what_the_hub_decided(segment: Segment, stage: Stage) -> None:
    """Address, prefix, MTU and gateway; and each site's DHCP server answers its own guests only."""
    hub = stage.clouds["hub"]
    mtu = hub("network", "GET", f"/v2.0/networks/{segment.net}").json()["network"]["mtu"]
    assert segment.leases == [Lease(g.address, 24, mtu, "10.40.0.1") for g in segment.guests]
    assert any(segment.guests[0].address in line for line in segment.seen), segment.seen
    assert not [line for line in segment.seen if "BOOTP" in line]


def test_both_ways(segment: Segment, stage: Stage) -> None:
    """No router in between, no address translated, and all the bytes arrive."""
    rule = stage.admit(segment.group, protocol="tcp")
    try:
        for one, two in (segment.guests, segment.guests[::-1]):
            assert one.end.ping(two.address) == 64
            heard = reaches(one, two)
            assert heard is not None and (heard.peer, heard.size) == (one.address, 1_000_000)
    finally:
        stage.refuse(rule)


def test_the_tag_is_the_hubs(segment: Segment, stage: Stage) -> None:
    """Every frame between the two is in the VLAN that the hub's Neutron chose, at the wire of either site."""
    one, two = segment.guests
    tag = stage.clouds["hub"]("network", "GET", f"/v2.0/networks/{segment.net}").json()["network"]["provider:segmentation_id"]
    for site in (one.site, two.site):
        with capture(wires.WAN, site) as seen:
            assert one.end.ping(two.address)
        between = [line for line in seen if one.address in line and two.address in line]
        assert len(between) >= 2 and all(f"vlan {tag}," in line for line in between), seen


def test_the_mtu_fits(segment: Segment) -> None:
    """The largest packet that the lease allows arrives whole."""
    one, two = segment.guests
    lease = segment.leases[0]
    assert lease is not None
    headers = 20 + 8  # IPv4, ICMP
    assert one.end.ping(two.address, size=lease.mtu - headers) == 64


def test_no_wan_no_packet(segment: Segment, whole: None) -> None:
    """It is the WAN that carries them: cut at one site, nothing arrives; mended, everything does."""
    one, two = segment.guests
    for site in (one.site, two.site):
        wires.cut(site)
        assert one.end.ping(two.address, seconds=QUICKLY) is None and two.end.ping(one.address, seconds=QUICKLY) is None
        wires.mend(site)
        assert one.end.ping(two.address) == 64


def test_a_rule_admits_while_it_is_there(segment: Segment, stage: Stage) -> None:
    """The default is to deny; a rule made through Cascade admits within seconds, and only what it says."""
    for one, two in (segment.guests, segment.guests[::-1]):
        assert denied(one, two, seconds=0)
        rule = stage.admit(segment.group, protocol="tcp", port_range_min=80, port_range_max=80)
        assert reaches(one, two)
        assert denied(one, two, port=81, seconds=0)
        stage.refuse(rule)
        assert denied(one, two)


@pytest.mark.parametrize("number", [0, 1])
def test_a_false_mac_is_not_carried(segment: Segment, number: int) -> None:
    """Port security of the guest's own site, in each release."""
    one, two = segment.guests[number], segment.guests[1 - number]
    one.end.become("fa:16:3e:00:00:66")
    try:
        with capture(wires.WAN, "trunk") as seen:
            assert one.end.ping(two.address, seconds=QUICKLY) is None
        assert not [line for line in seen if "fa:16:3e:00:00:66" in line]
    finally:
        one.end.become(one.end.mac)
    assert one.end.ping(two.address) == 64


@pytest.mark.parametrize("number", [0, 1])
def test_a_false_address_is_not_carried(segment: Segment, number: int) -> None:
    """Nor is a packet from an address that is not the port's."""
    one, two = segment.guests[number], segment.guests[1 - number]
    taken = {g.address for g in segment.guests}
    false = next(a for a in ("10.40.0.66", "10.40.0.67", "10.40.0.68") if a not in taken)
    one.end.static(f"{false}/24")
    try:
        assert one.end.ping(two.address, source=false, seconds=QUICKLY) is None
        assert one.end.ping(two.address, source=one.address) == 64
    finally:
        one.end.execute("ip", "address", "delete", f"{false}/24", "dev", one.end.device)


def test_another_tenants_network_is_another_world(segment: Segment, others: Stage) -> None:
    """The same addresses on a network of somebody else's: his guests hear each other and nobody of ours."""
    net, group = others.tenant.network(CIDR)["id"], others.group("icmp")
    taken = {g.address for g in segment.guests}
    free = [f"10.40.0.{n}" for n in range(50, 54) if f"10.40.0.{n}" not in taken]
    one, two = (others.leased(net, s, groups=[group], fixed_ips=[{"ip_address": a}])[0] for s, a in zip(SITES, free, strict=False))
    assert one.end.ping(two.address) == 64
    for ours in segment.guests:
        assert ours.end.ping(one.address, seconds=QUICKLY) is None and ours.end.ping(two.address, seconds=QUICKLY) is None
        assert two.end.ping(ours.address, seconds=QUICKLY) is None
