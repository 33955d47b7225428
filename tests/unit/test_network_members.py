"""A rule with a remote group admits that group's members in other sites: who comes, who goes, in what order ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import Fault, SiteError
from cascade.reconcile.net.members import addresses
from tests.unit.network_fake import EXTENSIONS, ME, Cloud, Doc, Net


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


def admits(net: Net, group: Doc, remote: Doc, **more: Any) -> Doc:
    """A hub rule: members of ``remote`` may come in."""
    body = {"direction": "ingress", "security_group_id": group["id"], "remote_group_id": remote["id"], "project_id": "p1"}
    return net.hub.add("security-group-rules", {**body, **more})


def admitted(cloud: Cloud, group: str) -> set[str]:
    """Whom companions of a site's group let in."""
    row = cloud.only("security-groups", name=group)
    rules = [r for r in row["security_group_rules"] if r["remote_address_group_id"]]
    return {a for r in rules for a in cloud.rows["address-groups"][r["remote_address_group_id"]]["addresses"]}


def address(port: Doc) -> str:
    return f"{port['fixed_ips'][0]['ip_address']}/32"


async def test_members_elsewhere_are_admitted_and_no_others(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web, protocol="tcp", port_range_min=80, port_range_max=80)
    here, there, nowhere = (net.port(hub_net, web) for _ in range(3))
    await net.networks.materialise_port("paris", here, ME)
    assert admitted(net.paris, "web") == set()
    await net.networks.materialise_port("tokyo", there, ME)
    await net.settle()
    assert admitted(net.paris, "web") == {address(there)} and admitted(net.tokyo, "web") == {address(here)}
    companion = next(r for r in net.paris.rows["security-group-rules"].values() if r["description"].endswith(".members"))
    assert (companion["protocol"], companion["port_range_min"], companion["remote_group_id"]) == ("tcp", 80, None)
    assert address(nowhere) not in admitted(net.paris, "web") | admitted(net.tokyo, "web")


async def test_who_leaves_is_not_admitted_any_more(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    ports = [net.port(hub_net, web) for _ in range(3)]
    await net.networks.materialise_port("paris", ports[0], ME)
    for port in ports[1:]:
        await net.networks.materialise_port("tokyo", port, ME)
    await net.settle()
    assert admitted(net.paris, "web") == {address(p) for p in ports[1:]}
    await net.networks.drop_port(ports[1]["id"], "tokyo", [web["id"]])  # its server is gone
    await net.settle()
    assert admitted(net.paris, "web") == {address(ports[2])}
    async with net.networks.change(("port", ports[2]["id"])):  # its owner takes it out of the group
        net.hub.rows["ports"][ports[2]["id"]]["security_groups"] = []
    await net.settle()
    assert admitted(net.paris, "web") == set()
    assert not await net.store.intents.pending(verb="network.sync")


async def test_a_port_that_joins_or_moves_its_address_is_followed(net: Net) -> None:
    hub_net, _ = net.network()
    web, db = net.group("web"), net.group("db")
    admits(net, db, web)
    server, client = net.port(hub_net, db), net.port(hub_net)
    await net.networks.materialise_port("paris", server, ME)
    await net.networks.materialise_port("tokyo", client, ME)
    assert admitted(net.paris, "db") == set()
    row = net.hub.rows["ports"][client["id"]]
    async with net.networks.change(("port", client["id"])):
        row["security_groups"] = [web["id"]]
    await net.settle()
    assert admitted(net.paris, "db") == {address(client)}
    async with net.networks.change(("port", client["id"])):
        row["fixed_ips"][0]["ip_address"] = "10.0.0.99"
        row["allowed_address_pairs"] = [{"ip_address": "10.0.7.0/24"}, {"ip_address": "0.0.0.0/0"}]
    await net.settle()
    assert admitted(net.paris, "db") == {"10.0.0.99/32", "10.0.7.0/24"}


async def test_a_server_that_moves_is_a_member_there_and_not_here(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    stays = {site: net.port(hub_net, web) for site in ("paris", "tokyo")}
    for site, port in stays.items():
        await net.networks.materialise_port(site, port, ME)
    moves = net.port(hub_net, web)
    for here, other in (("paris", "tokyo"), ("tokyo", "paris"), ("paris", "tokyo")):
        await net.networks.materialise_port(here, moves, ME)
        await net.settle()
        assert admitted(getattr(net, other), "web") == {address(stays[here]), address(moves)}
        assert admitted(getattr(net, here), "web") == {address(stays[other])}
        assert len(await net.store.pairs.of_hub("port", moves["id"])) == 1


async def test_the_last_rule_takes_the_address_group_with_it(net: Net) -> None:
    hub_net, _ = net.network()
    web, db = net.group("web"), net.group("db")
    rules = [admits(net, g, web) for g in (web, db)]
    await net.networks.materialise_port("paris", net.port(hub_net, web, db), ME)
    for left, rule in ((1, rules[0]), (0, rules[1])):
        net.hub._delete("security-group-rules", rule)
        await net.networks.sync("security_group", rule["security_group_id"])
        await net.settle()
        assert len(net.paris.copies("address-groups")) == left
    assert not await net.store.pairs.all("group_members")


async def test_a_remote_group_that_goes_takes_its_companions(net: Net) -> None:
    hub_net, _ = net.network()
    web, db = net.group("web"), net.group("db")
    admits(net, db, web)
    await net.networks.materialise_port("paris", net.port(hub_net, db), ME)
    assert len(net.paris.only("security-groups", name="db")["security_group_rules"]) == 4
    net.hub._delete("security-groups", web)
    await net.networks.sync("security_group", web["id"])
    await net.settle()
    assert len(net.paris.only("security-groups", name="db")["security_group_rules"]) == 2
    assert not net.paris.copies("address-groups") and not await net.store.pairs.all("group_members")


async def test_what_the_sites_owner_deleted_is_made_again(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    far = net.port(hub_net, web)
    await net.networks.materialise_port("tokyo", far, ME)
    await net.networks.materialise_port("paris", net.port(hub_net, web), ME)
    companion = next(r for r in net.paris.rows["security-group-rules"].values() if r["remote_address_group_id"])
    net.paris._delete("security-group-rules", companion)
    net.paris.rows["address-groups"].clear()
    await net.networks.sync("group_members", web["id"] + ".members")
    await net.settle()
    assert admitted(net.paris, "web") == {address(far)}


async def test_calls_do_not_grow_with_the_members(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    await net.networks.materialise_port("paris", net.port(hub_net, web), ME)
    many = [net.port(hub_net, web) for _ in range(25)]
    await net.networks.materialise_port("tokyo", many[0], ME)
    await net.settle()
    net.paris.calls.clear()
    for port in many[1:]:
        await net.networks.materialise_port("tokyo", port, ME)
    await net.settle()
    assert len(admitted(net.paris, "web")) == 25
    assert len([c for c in net.paris.calls if "add_addresses" in c[1]]) < 6


async def test_one_site_alone_is_asked_nothing_more(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    await net.networks.materialise_port("paris", net.port(hub_net, web), ME)
    await net.settle()
    net.paris.calls.clear()
    port = net.port(hub_net, web)
    await net.networks.materialise_port("paris", port, ME)
    await net.networks.drop_port(port["id"], "paris", [web["id"]])
    await net.settle()
    assert not [c for c in net.paris.calls if "address-groups" in c[1]]


async def test_a_dead_site_catches_up(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    first, second = net.port(hub_net, web), net.port(hub_net, web)
    await net.networks.materialise_port("paris", net.port(hub_net, web), ME)
    await net.networks.materialise_port("tokyo", first, ME)
    await net.settle()
    net.down.add("paris")
    await net.networks.materialise_port("tokyo", second, ME)
    await net.networks.drop_port(first["id"], "tokyo", [web["id"]])
    await net.settle()
    assert await net.store.intents.pending(verb="network.sync")
    net.down.clear()
    net.networks._returned("paris")
    await net.settle()
    assert admitted(net.paris, "web") == {address(second)}
    assert not await net.store.intents.pending(verb="network.sync")


async def test_a_site_without_the_extension_still_boots(net: Net) -> None:
    net.paris.extensions = [e for e in EXTENSIONS if "remote-address" not in e]
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    await net.networks.materialise_port("paris", net.port(hub_net, web), ME)
    assert not net.paris.copies("address-groups")
    assert len(net.paris.only("security-groups", name="web")["security_group_rules"]) == 3


async def test_a_rule_for_everybody_is_not_taken_for_a_companion(net: Net) -> None:
    hub_net, _ = net.network()
    web = net.group("web")
    admits(net, web, web)
    await net.networks.materialise_port("paris", net.port(hub_net, web), ME)
    net.hub.add("security-group-rules", {"direction": "ingress", "security_group_id": web["id"], "project_id": "p1"})
    await net.networks.sync("security_group", web["id"])
    await net.settle()
    rules = net.paris.only("security-groups", name="web")["security_group_rules"]
    assert len([r for r in rules if r["direction"] == "ingress"]) == 3


async def test_a_port_in_use_is_not_used_in_a_second_site(net: Net) -> None:
    hub_net, _ = net.network()
    port = net.port(hub_net)
    copy = await net.networks.materialise_port("paris", port, ME)
    net.paris.rows["ports"][copy]["device_id"] = "server-in-paris"
    net.hub.rows["ports"][port["id"]]["device_id"] = ""  # as its owner may write at any time
    with pytest.raises(Fault) as caught:
        await net.networks.materialise_port("tokyo", port, ME)
    assert caught.value.status == 409 and "still in use" in caught.value.message and not net.tokyo.copies("ports")
    net.down.add("paris")
    with pytest.raises(SiteError):  # nobody can know
        await net.networks.materialise_port("tokyo", port, ME)
    net.down.clear()
    net.paris.rows["ports"][copy]["device_id"] = ""  # its server is gone
    await net.networks.materialise_port("tokyo", port, ME)
    assert net.tokyo.copies("ports") and not net.paris.copies("ports")


def test_where_a_port_sends_from() -> None:
    port = {"fixed_ips": [{"ip_address": "10.0.0.5"}, {"ip_address": "2001:db8::5"}],
            "allowed_address_pairs": [{"ip_address": "10.1.0.9/24"}, {"ip_address": "::/0"}]}  # fmt: skip
    assert set(map(str, addresses(port))) == {"10.0.0.5/32", "2001:db8::5/128", "10.1.0.0/24"}
