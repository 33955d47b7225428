"""One network over two sites as real operating systems see it: two Debian kernels, booted beside Nova's driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab import wires
from lab.guest import Machine, Media, machine, media
from lab.paths import state
from tests.packets.stage import SITES, Guest, Stage


@pytest.fixture(scope="module")
def disk() -> Media:
    return media(state())


@pytest.fixture
def machines(stage: Stage, disk: Media) -> Iterator[list[tuple[Guest, Machine]]]:
    """One in each site."""
    net = stage.tenant.network("10.47.0.0/24")["id"]
    guests = stage.boot(net, *SITES, groups=[stage.group("icmp", "tcp")])
    with ExitStack() as stack:
        yield [(guest, stack.enter_context(machine(disk, guest.end))) for guest in guests]


def test_two_kernels(stage: Stage, machines: list[tuple[Guest, Machine]], whole: None) -> None:
    """Each gets the hub's address from its site's DHCP, and reaches the other by ICMP and TCP; not with the WAN cut."""
    for guest, kernel in machines:
        lease = kernel.lease()
        assert lease is not None and lease.address == guest.address and lease.prefix == 24, (guest.site, lease)
    for (_, here), (there, _) in (machines, machines[::-1]):
        assert here.ping(there.address)
        assert here.get(there.address) == f"I am {there.address}/24"
        nobody = next(a for a in ("10.47.0.250", "10.47.0.251", "10.47.0.252") if a not in {g.address for g, _ in machines})
        assert not here.ping(nobody, seconds=2)
    (_, here), (there, _) = machines
    wires.cut("tokyo")
    assert not here.ping(there.address, seconds=4) and here.get(there.address) == ""
