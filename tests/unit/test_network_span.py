"""In which sites a network may stand, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascade.model.errors import Fault
from tests.unit.network_fake import ME, Net


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


async def option(net: Net, site: str, **options: str) -> None:
    """Options of a site."""
    await net.store.sites.update(site, options=options)
    await net.sites.reload()


async def test_a_hinted_network_is_the_sites_own(net: Net) -> None:
    """On whatever the site makes networks of, and in no other site."""
    hub_net, _subnet = net.network(tags=["cascade.az.0=tokyo", "mine"])
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    copy = net.tokyo.only("networks", name="net")
    assert not [key for key in copy if key.startswith("provider:")]
    with pytest.raises(Fault, match="stays in availability zone tokyo") as caught:
        await net.networks.materialise_port("paris", net.port(hub_net), ME)
    assert caught.value.status == 409 and not net.paris.copies("networks")


@pytest.mark.parametrize("tags", [["cascade.az.0=paris", "cascade.az.1=tokyo"], ["cascade.az.0=elsewhere"], ["paris"]])
async def test_other_hints_let_it_span(net: Net, tags: list[str]) -> None:
    hub_net, _subnet = net.network(tags=tags)
    for cloud in (net.paris, net.tokyo):
        await net.networks.materialise_port(cloud.name, net.port(hub_net), ME)
        assert cloud.only("networks", name="net")["provider:segmentation_id"] == hub_net["provider:segmentation_id"]


@pytest.mark.parametrize("word", ["none", "fibre"])
async def test_no_interconnect_no_span(net: Net, word: str) -> None:
    """Refused with the reason, before anything is made; the site where it stands has it on."""
    await option(net, "tokyo", interconnect=word)
    hub_net, _subnet = net.network()
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    with pytest.raises(Fault, match="nothing joins networks there with paris") as caught:
        await net.networks.materialise_port("paris", net.port(hub_net), ME)
    assert caught.value.status == 409 and not net.paris.copies("networks")
    await net.networks.materialise_port("tokyo", net.port(hub_net), ME)
    await option(net, "tokyo")
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    assert net.paris.copies("networks")


async def test_two_words_none_do_not_meet(net: Net) -> None:
    for site in ("paris", "tokyo"):
        await option(net, site, interconnect="none")
    hub_net, _subnet = net.network()
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    with pytest.raises(Fault):
        await net.networks.materialise_port("tokyo", net.port(hub_net), ME)


async def test_a_network_that_is_gone_claims_nothing(net: Net) -> None:
    await option(net, "tokyo", interconnect="none")
    hub_net, _subnet = net.network()
    port = net.port(hub_net)
    await net.networks.materialise_port("tokyo", port, ME)
    claim = f"network.span/{hub_net['id']}"
    assert await net.store.docs.get(claim) == "tokyo"
    net.hub.rows["ports"].clear()
    net.hub._delete("networks", net.hub.rows["networks"][hub_net["id"]])
    await net.networks.drop_port(port["id"], "tokyo")
    await net.networks.sync("network", hub_net["id"])
    await net.settle()
    assert await net.store.docs.get(claim) is None


async def test_no_bridge_where_nothing_joins(net: Net) -> None:
    """Routers of such sites each lead to their own networks."""
    await option(net, "tokyo", interconnect="none")
    one, one_sub = net.network("one", "10.1.0.0/24")
    two, two_sub = net.network("two", "10.2.0.0/24")
    router = net.router(one, one_sub)
    owner = {"device_id": router["id"], "device_owner": "network:router_interface", "project_id": "p1"}
    net.hub.add("ports", {"network_id": two["id"], "fixed_ips": [{"subnet_id": two_sub["id"], "ip_address": "10.2.0.1"}], **owner})
    await net.networks.materialise_port("paris", net.port(one), ME)
    await net.networks.materialise_port("tokyo", net.port(two), ME)
    await net.settle()
    for cloud in (net.paris, net.tokyo):
        assert cloud.only("routers", name="r")["routes"] == [] and len(cloud.copies("networks")) == 1
    assert not [n for n in net.hub.rows["networks"].values() if n["name"] == "cascade-bridge"]
