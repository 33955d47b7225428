"""Two hosts of one site: the site's own wires are enough."""

from __future__ import annotations

import time

import pytest

from lab import wires
from lab.data import CLOUDS, EXTERNAL_GATEWAY
from lab.endpoints import capture, outside
from lab.ovn import vswitch
from lab.paths import state
from lab.shell import run
from tests.packets.stage import QUICKLY, SITES, Stage, reaches, soon


@pytest.mark.parametrize("site", SITES)
def test_two_hosts_of_a_site(stage: Stage, whole: None, site: str) -> None:
    """Guests kept apart by a server group reach each other, with the WAN cut: what stays in a site does not need it."""
    answer = stage.tenant.cloud(
        "compute", "POST", "/os-server-groups", {"server_group": {"name": site, "policies": ["anti-affinity"]}}, version="2.60"
    )
    assert answer.status == 200, answer.body
    group = answer.json()["server_group"]["id"]
    net = stage.tenant.network("10.41.0.0/24")["id"]
    router = stage.router(net, external_gateway_info={"network_id": stage.public()})
    guests = stage.boot(net, site, site, groups=[stage.group("icmp", "tcp")], hints={"group": group})
    assert stage.tenant.cloud("compute", "DELETE", f"/os-server-groups/{group}").status == 204
    assert {g.host for g in guests} == {f"{site}-cmp1", f"{site}-cmp2"}
    assert soon(lambda: stage.outside(site, router), 30) and all(g.end.lease() for g in guests)
    wires.cut(site)
    with capture(wires.core(site), "wan") as seen:
        for one, two in (guests, guests[::-1]):
            assert one.end.ping(two.address) == 64
            heard = reaches(one, two)
            assert heard is not None and (heard.peer, heard.size) == (one.address, 1_000_000)
    assert [line for line in seen if "vlan" in line and guests[0].address in line], "between hosts a frame is on the wire"
    with outside(site).serving(EXTERNAL_GATEWAY, 80):  # one host has the way out, and both guests find it
        for guest in guests:
            heard = soon(lambda g=guest: g.end.connect(EXTERNAL_GATEWAY, 80, seconds=QUICKLY), 20)  # type: ignore[misc]
            assert heard is not None and (heard.peer, heard.size) == (stage.outside(site, router), 1_000_000)
    # The hosts' tunnel carries OVN's heartbeats, while a router has a way out: each host says that it hears the other.
    assert soon(lambda: all("forwarding=true" in _tunnel(site, host) for host in (1, 2)), 15)
    with capture(wires.core(site), "und", ("udp", "port", "6081")) as seen:
        time.sleep(2.5)  # it beats every second
    senders = {h for h in (wires.underlay(1), wires.underlay(2)) if any(f" {h}." in line.partition(" > 172")[0] for line in seen)}
    assert senders == {wires.underlay(1), wires.underlay(2)}, seen


def _tunnel(site: str, host: int) -> str:
    """What a host's Open vSwitch says of its tunnel to the other."""
    database = vswitch(state().cloud(CLOUDS[site]), host)
    return run(["ovs-vsctl", f"--db={database}", "--bare", "--columns=bfd_status", "find", "interface", "type=geneve"])
