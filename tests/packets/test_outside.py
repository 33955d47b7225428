"""A router with a way out: each site's guests leave and are reached by their own site's external network."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lab import wires
from lab.data import EXTERNAL_GATEWAY, SITES
from lab.endpoints import outside
from tests.packets.stage import QUICKLY, Guest, Stage, soon


@dataclass
class Routed:
    """A network behind a router, a guest in each site."""

    router: str
    external: str
    guests: list[Guest]


@pytest.fixture(scope="module")
def routed(stage: Stage) -> Routed:
    """The router is there before the guests ask for their addresses."""
    tenant = stage.tenant
    net = tenant.network("10.43.0.0/24")
    external = stage.public()
    router = stage.router(net["id"], external_gateway_info={"network_id": external})
    guests = stage.boot(net["id"], "paris", "tokyo", groups=[stage.group("icmp", "tcp")])
    for guest in guests:
        soon(lambda g=guest: stage.inside(g.site, router), 30)  # type: ignore[misc]
        assert guest.end.lease()
    return Routed(router, external, guests)


@pytest.mark.parametrize("number", [0, 1])
def test_the_way_out_is_the_sites_own(routed: Routed, stage: Stage, number: int) -> None:
    """A server outside sees the address of the router of the guest's site."""
    guest = routed.guests[number]
    address = soon(lambda: stage.outside(guest.site, routed.router), 30)
    assert address is not None
    first, last = SITES[guest.site].external_pool
    assert first <= int(address.rpartition(".")[2]) <= last
    with outside(guest.site).serving(EXTERNAL_GATEWAY, 80):
        heard = soon(lambda: guest.end.connect(EXTERNAL_GATEWAY, 80, seconds=QUICKLY), 20)
    assert heard is not None and (heard.peer, heard.size) == (address, 1_000_000)


def test_a_floating_ip_goes_from_guest_to_guest(routed: Routed, stage: Stage) -> None:
    """From outside each site: the address answers where its port stands and nowhere else, also after a move to the other site."""
    made = stage.tenant.make("floatingips", "floatingip", floating_network_id=routed.external)
    address, path = made["floating_ip_address"], f"floatingips/{made['id']}"
    for guest, other in (routed.guests, routed.guests[::-1]):
        stage.tenant.put(path, "floatingip", port_id=guest.port["id"])
        with guest.end.serving(guest.address, 80):
            heard = soon(lambda g=guest: outside(g.site).connect(address, 80, seconds=QUICKLY), 20)  # type: ignore[misc]
            assert heard is not None and (heard.peer, heard.size) == (EXTERNAL_GATEWAY, 1_000_000)
            assert outside(other.site).connect(address, 80, seconds=QUICKLY) is None
        with outside(guest.site).serving(EXTERNAL_GATEWAY, 80):
            heard = guest.end.connect(EXTERNAL_GATEWAY, 80)
        assert heard is not None and heard.peer == address, "the guest leaves with its floating IP"
    stage.tenant.put(path, "floatingip", port_id=None)
    last = routed.guests[0]
    with last.end.serving(last.address, 80):
        assert soon(lambda: outside(last.site).connect(address, 80, seconds=QUICKLY) is None, 20)


def test_a_hinted_router_stays_and_guests_come_to_it(stage: Stage) -> None:
    """A guest in tokyo leaves over the WAN by the router of paris; cut off, it leaves by nobody."""
    net = stage.tenant.network("10.44.0.0/24")
    router = stage.router(net["id"], external_gateway_info={"network_id": stage.public()}, availability_zone_hints=["paris"])
    (guest,) = stage.boot(net["id"], "tokyo", groups=[stage.group("icmp", "tcp")])
    soon(lambda: stage.inside("paris", router), 30)
    lease = guest.end.lease()
    assert lease and not stage.inside("tokyo", router)
    address = soon(lambda: stage.outside("paris", router), 30)
    with outside("paris").serving(EXTERNAL_GATEWAY, 80):
        heard = soon(lambda: guest.end.connect(EXTERNAL_GATEWAY, 80, seconds=QUICKLY), 20)
        assert heard is not None and (heard.peer, heard.size) == (address, 1_000_000)
        wires.cut("tokyo")
        try:
            assert guest.end.connect(EXTERNAL_GATEWAY, 80, seconds=QUICKLY) is None
        finally:
            wires.mend("tokyo")
