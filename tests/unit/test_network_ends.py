"""The end of a server's ports: in its own site for certain, in any other as soon as that is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import SiteError
from cascade.reconcile.ports import MADE, Ports
from cascade.store.pairs import Pair
from tests.unit.network_fake import ME, Doc, Net


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


async def server_port(net: Net, *sites: str, **more: Any) -> Doc:
    """A hub port Cascade made for a server of paris, on a network that stands in both sites, with copies in ``sites``."""
    hub_net, _subnet = net.network()
    for site in ("paris", "tokyo"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    port = net.port(hub_net, device_id="server", device_owner="compute:paris", **{"binding:profile": {MADE: True}, **more})
    for site in sites:
        row = net.paris if site == "paris" else net.tokyo
        copy = row.add("ports", {**port, "id": f"copy-{site}", "description": f"cascade:{port['id']}", "device_id": ""})
        await net.store.pairs.put(Pair(kind="port", hub_id=port["id"], site=site, site_id=copy["id"]))
    return port


@pytest.mark.parametrize("paired", [True, False])
async def test_the_end_of_a_server_waits_for_no_other_site(net: Net, paired: bool) -> None:
    """Its network stands in a site that is away, too: with its copy known, and after a crash with nothing but the stamp."""
    port = await server_port(net, "paris")
    if not paired:
        await net.store.pairs.drop("port", port["id"], "paris")
    net.down.add("tokyo")
    await Ports(net.south, net.networks).release("server", "paris", keep=None)
    assert port["id"] not in net.hub.rows["ports"] and "copy-paris" not in net.paris.rows["ports"]
    assert not await net.store.pairs.of_hub("port", port["id"])


@pytest.mark.parametrize("known", [True, False])
async def test_a_copy_in_a_site_that_is_away_goes_when_that_is_back(net: Net, known: bool) -> None:
    """Left from before: a hub port has its server in one site. Whether it is known already that the other is away, or not."""
    port = await server_port(net, "paris", "tokyo")
    net.down.add("tokyo")
    if known:
        net.sites.health.watch({"tokyo": ("compute",)})
        for _ in range(5):
            net.sites.health._failure("tokyo", "compute", "silent", probe=True)
        assert not net.sites.usable("tokyo")
    await Ports(net.south, net.networks).release("server", "paris", keep=None)
    assert port["id"] not in net.hub.rows["ports"] and "copy-paris" not in net.paris.rows["ports"]
    await net.settle()
    assert "copy-tokyo" in net.tokyo.rows["ports"] and await net.store.intents.pending(verb="network.sync")
    net.down.clear()
    net.sites.health._success("tokyo", "compute", 0.1)
    net.networks._returned("tokyo")
    await net.settle()
    assert "copy-tokyo" not in net.tokyo.rows["ports"] and not await net.store.pairs.of_hub("port", port["id"])
    assert not await net.store.intents.pending(verb="network.sync")


async def test_a_site_that_is_away_keeps_its_own_servers_ports(net: Net) -> None:
    """The hub's address is free only when its guest has certainly lost it."""
    port = await server_port(net, "paris")
    net.down.add("paris")
    with pytest.raises(SiteError):
        await Ports(net.south, net.networks).release("server", "paris", keep=None)
    assert port["id"] in net.hub.rows["ports"] and await net.store.pairs.of_hub("port", port["id"])
