"""Copies of Neutron's things in sites: made for a boot, following the hub, gone with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import Fault, SiteError
from cascade.reconcile.net.replica import changes
from cascade.reconcile.net.span import zone_hints
from tests.unit.network_fake import ME, Net, error


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Net]:
    found = await Net.open(tmp_path)
    yield found
    await found.store.close()


async def test_a_port_comes_with_everything_it_needs(net: Net) -> None:
    hub_net, _subnet = net.network()
    group = net.group()
    port = net.port(hub_net, group, name="mine")
    made = await net.networks.materialise_port("paris", port, ME)
    row = net.paris.rows["ports"][made]
    assert row["mac_address"] == port["mac_address"] and row["description"] == f"cascade:{port['id']}" and row["name"] == "mine"
    assert [f["ip_address"] for f in row["fixed_ips"]] == [f["ip_address"] for f in port["fixed_ips"]]
    assert row["device_id"] == "" and row["project_id"] == "paris-p1"
    copy = net.paris.only("networks", name="net")
    assert copy["provider:segmentation_id"] == hub_net["provider:segmentation_id"] and copy["provider:physical_network"] == "wan"
    reserved = net.hub.only("ports", device_id="cascade-paris")
    assert reserved["device_owner"] == "network:dhcp"
    address = reserved["fixed_ips"][0]["ip_address"]
    assert net.paris.only("subnets", name="net")["allocation_pools"] == [{"start": address, "end": address}]
    assert {p.kind for p in await net.store.pairs.copies("port", [port["id"]])} == {"port"}
    assert await net.networks.materialise_port("paris", port, ME) == made
    assert len(net.paris.copies("networks")) == len(net.paris.copies("ports")) == 1


async def test_sites_have_disjoint_pools(net: Net) -> None:
    hub_net, _subnet = net.network()
    for site in ("paris", "tokyo"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    pools = [c.only("subnets", name="net")["allocation_pools"][0]["start"] for c in (net.paris, net.tokyo)]
    addresses = [p["fixed_ips"][0]["ip_address"] for p in net.hub.rows["ports"].values()]
    assert len(set(pools)) == 2 and len(set(addresses)) == len(addresses) == 4


async def test_many_first_boots_make_one_network(net: Net) -> None:
    hub_net, _subnet = net.network()
    group = net.group()
    ports = [net.port(hub_net, group) for _ in range(12)]
    await asyncio.gather(*(net.networks.materialise_port("paris", p, ME) for p in ports))
    assert len(net.paris.copies("networks")) == len(net.paris.copies("subnets")) == len(net.paris.copies("security-groups")) == 1
    assert len(net.paris.copies("ports")) == 12


async def test_a_copy_made_before_a_crash_is_found_by_its_stamp(net: Net) -> None:
    hub_net, subnet = net.network()
    port = net.port(hub_net, net.group())
    first = await net.networks.materialise_port("paris", port, ME)
    for kind, ident in (("network", hub_net["id"]), ("subnet", subnet["id"]), ("port", port["id"])):
        await net.store.pairs.drop(kind, ident, "paris")
    assert await net.networks.materialise_port("paris", port, ME) == first
    assert len(net.paris.copies("networks")) == 1


async def test_what_the_sites_owner_deleted_is_made_again(net: Net) -> None:
    hub_net, _subnet = net.network()
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    net.paris.rows["ports"].clear()
    net.paris.rows["subnets"].clear()
    for row in net.paris.copies("networks"):
        del net.paris.rows["networks"][row["id"]]
    made = await net.networks.materialise_port("paris", net.port(hub_net), ME)
    assert made in net.paris.rows["ports"] and len(net.paris.copies("networks")) == 1


async def test_no_address_left_for_the_site(net: Net) -> None:
    hub_net, _subnet = net.network(cidr="10.0.0.0/30")
    port = net.port(hub_net)
    with pytest.raises(Fault) as caught:
        await net.networks.materialise_port("paris", port, ME)
    assert caught.value.status == 409 and caught.value.kind == "IpAddressGenerationFailure"


async def test_groups_that_name_each_other(net: Net) -> None:
    hub_net, _subnet = net.network()
    one, two = net.group("one"), net.group("two")
    for group, other in ((one, two), (two, one)):
        body = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "remote_group_id": other["id"]}
        net.hub.add("security-group-rules", body)
    await asyncio.gather(*(net.networks.materialise_port("paris", net.port(hub_net, g), ME) for g in (one, two)))
    ids = {g["name"]: g["id"] for g in net.paris.copies("security-groups")}
    for name, named in (("one", "two"), ("two", "one")):
        rules = net.paris.only("security-groups", name=name)["security_group_rules"]
        assert [r["remote_group_id"] for r in rules if r["protocol"] == "tcp"] == [ids[named], None] and len(rules) == 4


async def test_the_default_group_is_paired_and_only_its_rules_follow(net: Net) -> None:
    hub_net, _subnet = net.network()
    default = net.group("default")
    rule = {"security_group_id": default["id"], "direction": "ingress", "remote_group_id": default["id"]}
    net.hub.add("security-group-rules", rule)
    net.hub._delete("security-group-rules", default["security_group_rules"][0])
    await net.networks.materialise_port("paris", net.port(hub_net, default), ME)
    copy = net.paris.only("security-groups", name="default")
    assert copy["description"] == f"cascade:{default['id']}"
    assert sorted((r["direction"], r["ethertype"], r["remote_group_id"] or "") for r in copy["security_group_rules"]) == [
        ("egress", "IPv6", ""), ("ingress", "IPv4", ""), ("ingress", "IPv4", copy["id"]),
    ]  # fmt: skip
    del net.hub.rows["security-groups"][default["id"]]
    await net.networks.sync("security_group", default["id"])
    await net.settle()
    assert net.paris.only("security-groups", name="default")


async def test_rules_and_addresses_follow(net: Net) -> None:
    hub_net, _subnet = net.network()
    group = net.group()
    addresses = net.hub.add("address-groups", {"name": "a", "project_id": "p1", "addresses": ["10.1.0.0/24"]})
    await net.networks.materialise_port("paris", net.port(hub_net, group), ME)
    await net.settle()
    rule = {"security_group_id": group["id"], "direction": "ingress", "remote_address_group_id": addresses["id"]}
    made = net.hub.add("security-group-rules", rule)
    await net.networks.sync("security_group", group["id"])
    await net.settle()
    copy = net.paris.only("address-groups", name="a")
    shown = net.paris.only("security-groups", name="web")["security_group_rules"]
    assert [r["remote_address_group_id"] for r in shown if r["direction"] == "ingress"] == [copy["id"]]
    addresses["addresses"] = ["10.2.0.0/24"]
    await net.networks.sync("address_group", addresses["id"])
    net.hub._delete("security-group-rules", made)
    await net.networks.sync("security_group", group["id"])
    await net.settle()
    assert copy["addresses"] == ["10.2.0.0/24"]
    assert len(net.paris.only("security-groups", name="web")["security_group_rules"]) == 2


async def test_a_rule_made_while_its_group_is_first_copied_is_not_lost(net: Net) -> None:
    hub_net, _subnet = net.network()
    group = net.group()
    port = net.port(hub_net, group)

    def meanwhile(method: str, path: str) -> None:
        if (method, path) == ("POST", "/v2.0/security-groups"):
            net.paris.after = lambda method, path: None
            net.hub.add("security-group-rules", {"security_group_id": group["id"], "direction": "ingress", "protocol": "udp"})

    net.paris.after = meanwhile
    await net.networks.materialise_port("paris", port, ME)
    await net.settle()
    assert "udp" in {r["protocol"] for r in net.paris.only("security-groups", name="web")["security_group_rules"]}


async def test_a_network_and_its_later_subnets_follow(net: Net) -> None:
    hub_net, subnet = net.network()
    for site in ("paris", "tokyo"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    hub_net["name"] = "renamed"
    subnet["dns_nameservers"] = ["9.9.9.9"]
    later = {"network_id": hub_net["id"], "cidr": "10.9.0.0/24", "ip_version": 4, "name": "later", "project_id": "p1"}
    net.hub.add("subnets", later)
    await net.networks.sync("network", hub_net["id"])
    await net.settle()
    for cloud in (net.paris, net.tokyo):
        assert cloud.only("networks", name="renamed") and cloud.only("subnets", name="later")
        assert cloud.only("subnets", name="net")["dns_nameservers"] == ["9.9.9.9"]


async def test_deletes_follow_and_wait_for_a_site_that_is_away(net: Net) -> None:
    hub_net, _subnet = net.network()
    ports = {site: net.port(hub_net) for site in ("paris", "tokyo")}
    for site, port in ports.items():
        await net.networks.materialise_port(site, port, ME)
        await net.networks.drop_port(port["id"], site)
        del net.hub.rows["ports"][port["id"]]
    await net.networks.dirty("network", hub_net["id"])
    assert net.hub._delete("networks", hub_net)[0] == 204
    net.down.add("tokyo")
    await net.networks.sync("network", hub_net["id"])
    await net.settle()
    assert not net.paris.copies("networks") and net.tokyo.copies("networks")
    assert await net.store.intents.pending(verb="network.sync")
    net.down.clear()
    net.networks._returned("tokyo")
    await net.settle()
    assert not net.tokyo.copies("networks") and not await net.store.intents.pending(verb="network.sync")
    assert not await net.store.pairs.of_hub("network", hub_net["id"])


async def test_dirty_marks_survive_a_restart(net: Net) -> None:
    hub_net, _subnet = net.network()
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    await net.networks.dirty("network", hub_net["id"])
    hub_net["name"] = "changed just before the crash"
    again = Net(net.store, net.sites)
    again.networks = type(net.networks)(net.store, net.south, net.sites)
    task = asyncio.create_task(again.networks.run())
    for _ in range(500):
        await asyncio.sleep(0.01)
        if not await net.store.intents.pending(verb="network.sync"):
            break
    task.cancel()
    assert net.paris.only("networks", name=hub_net["name"])


async def test_a_router_stands_where_its_network_does(net: Net) -> None:
    hub_net, subnet = net.network()
    router = net.router(hub_net, subnet)
    for site in ("paris", "tokyo"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    await net.settle()
    addresses = {}
    for cloud in (net.paris, net.tokyo):
        copy = cloud.only("routers", name="r")
        assert copy["external_gateway_info"]["network_id"] == cloud.external
        addresses[cloud.name] = cloud.only("ports", device_id=copy["id"])["fixed_ips"][0]["ip_address"]
        assert cloud.only("subnets", name="net")["gateway_ip"] == addresses[cloud.name]
    assert addresses["paris"] == subnet["gateway_ip"] != addresses["tokyo"]
    assert net.hub.only("ports", device_id="cascade-tokyo-router")["fixed_ips"][0]["ip_address"] == addresses["tokyo"]
    net.hub.rows["ports"] = {k: p for k, p in net.hub.rows["ports"].items() if p["device_id"] != router["id"]}
    del net.hub.rows["routers"][router["id"]]
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert not net.paris.rows["routers"] and not net.tokyo.rows["routers"]


async def test_a_router_added_later_moves_the_gateway_of_other_sites(net: Net) -> None:
    hub_net, subnet = net.network()
    for site in ("paris", "tokyo"):
        await net.networks.materialise_port(site, net.port(hub_net), ME)
    assert net.tokyo.only("subnets", name="net")["gateway_ip"] == subnet["gateway_ip"]
    router = net.router(hub_net, subnet)
    await net.networks.sync("router", router["id"])
    await net.settle()
    assert net.paris.only("subnets", name="net")["gateway_ip"] == subnet["gateway_ip"]
    assert net.tokyo.only("subnets", name="net")["gateway_ip"] != subnet["gateway_ip"]


async def test_a_floating_ip_stands_with_its_port_only(net: Net) -> None:
    hub_net, subnet = net.network()
    net.router(hub_net, subnet)
    ports = {site: net.port(hub_net) for site in ("paris", "tokyo")}
    for site, port in ports.items():
        await net.networks.materialise_port(site, port, ME)
    body = {"floating_network_id": net.hub.external, "floating_ip_address": "203.0.113.9", "project_id": "p1"}
    floating = net.hub.add("floatingips", body)
    for here, there, site in ((net.paris, net.tokyo, "paris"), (net.tokyo, net.paris, "tokyo")):
        floating["port_id"] = ports[site]["id"]
        net.hub._associate(floating)
        await net.networks.sync("floating_ip", floating["id"])
        await net.settle()
        copy = here.only("floatingips", floating_ip_address="203.0.113.9")
        assert copy["status"] == "ACTIVE" and copy["fixed_ip_address"] == ports[site]["fixed_ips"][0]["ip_address"]
        assert not there.rows["floatingips"]
    await net.networks.drop_port(ports["tokyo"]["id"], "tokyo")
    assert not net.tokyo.rows["floatingips"] and not await net.store.pairs.of_hub("floating_ip", floating["id"])


async def test_a_shared_network_belongs_to_its_owner(net: Net) -> None:
    hub_net, _subnet = net.network(shared=True)
    made = await net.networks.materialise_port("paris", net.port(hub_net, project_id="p2"), ME)
    assert net.paris.only("networks", name="net")["project_id"] == "paris-p1"
    assert net.paris.rows["ports"][made]["project_id"] == "paris-p2"
    assert net.paris.only("rbac-policies", target_tenant="paris-p2")["action"] == "access_as_shared"


async def test_a_port_follows(net: Net) -> None:
    hub_net, _subnet = net.network()
    port = net.port(hub_net)
    made = await net.networks.materialise_port("paris", port, ME)
    group = net.group()
    pairs = [{"ip_address": "10.0.0.77"}]
    net.hub.rows["ports"][port["id"]].update(name="new", security_groups=[group["id"]], allowed_address_pairs=pairs)
    await net.networks.sync("port", port["id"])
    await net.settle()
    row = net.paris.rows["ports"][made]
    assert row["name"] == "new" and row["allowed_address_pairs"] == [{"ip_address": "10.0.0.77"}]
    assert row["security_groups"] == [net.paris.only("security-groups", name="web")["id"]]


async def test_pairs_a_site_does_not_take_hold_up_nothing_else(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = net.paris.serve

    def fussy(method: str, path: str, params: Any, doc: Any, headers: Any) -> Any:
        pairs = (doc or {}).get("port", {}).get("allowed_address_pairs") or ()
        if any(p["mac_address"].startswith("fa:16:3e:ff") for p in pairs):  # as ML2/OVN of 2026.2
            return error(400, "InvalidVirtualMACAddress")
        return serve(method, path, params, doc, headers)

    monkeypatch.setattr(net.paris, "serve", fussy)
    foreign, vrrp = {"ip_address": "10.0.0.9", "mac_address": "fa:16:3e:ff:00:01"}, {
        "ip_address": "10.0.0.8", "mac_address": "00:00:5e:00:01:07",
    }  # fmt: skip
    hub_net, _ = net.network()
    port, web = net.port(hub_net, allowed_address_pairs=[foreign, vrrp]), net.group()
    made = await net.networks.materialise_port("paris", port, ME)
    assert net.paris.rows["ports"][made]["allowed_address_pairs"] == [vrrp]
    port |= {"allowed_address_pairs": [foreign], "security_groups": [web["id"]]}
    net.hub.rows["ports"][port["id"]] |= port
    await net.networks.sync("port", port["id"])
    await net.settle()
    there = net.paris.rows["ports"][made]
    assert there["allowed_address_pairs"] == [] and there["security_groups"] == [
        net.paris.only("security-groups", name="web")["id"]
    ]
    there = net.tokyo.rows["ports"][await net.networks.materialise_port("tokyo", port, ME)]
    assert there["allowed_address_pairs"] == [foreign]


async def test_a_port_dropped_without_its_pair(net: Net) -> None:
    hub_net, _subnet = net.network()
    port = net.port(hub_net)
    await net.networks.materialise_port("paris", port, ME)
    await net.store.pairs.drop("port", port["id"], "paris")
    await net.networks.drop_port(port["id"], "paris")
    assert not net.paris.copies("ports")


async def test_dropping_at_a_dead_site_says_so(net: Net) -> None:
    hub_net, _subnet = net.network()
    port = net.port(hub_net)
    await net.networks.materialise_port("paris", port, ME)
    net.down.add("paris")
    with pytest.raises(SiteError):
        await net.networks.drop_port(port["id"], "paris")
    assert await net.store.pairs.of_hub("port", port["id"])


async def test_two_boots_cannot_have_one_port(net: Net) -> None:
    hub_net, _subnet = net.network()
    port = net.port(hub_net)
    claimed = await net.networks.claim_port(port, "intent-1")
    assert claimed["device_id"] == "intent-1"
    with pytest.raises(Fault) as caught:
        await net.networks.claim_port(port, "intent-2")
    assert caught.value.status == 409 and "still in use" in caught.value.message


async def test_a_shadow_projects_full_quota_is_lifted(net: Net) -> None:
    hub_net, subnet = net.network()
    net.router(hub_net, subnet)
    net.paris.quotas["paris-p1"] = 1
    await net.networks.materialise_port("paris", net.port(hub_net), ME)
    await net.settle()
    assert net.paris.quotas["paris-p1"] == -1 and net.paris.only("routers", name="r")


def test_what_differs() -> None:
    row = {"a": 1, "list": [{"x": 1, "y": 2}, {"x": 3}], "same": "s"}
    assert changes(row, {"list": [{"x": 3}, {"y": 2, "x": 1}], "same": "s"}) == {}
    assert changes(row, {"a": 2, "list": []}) == {"a": 2, "list": []}


def test_hints_keep_their_order() -> None:
    assert zone_hints(["x", "cascade.az.1=tokyo", "cascade.az.0=paris"]) == ["paris", "tokyo"]


async def test_a_port_that_calls_itself_a_routers_joins_no_network(net: Net) -> None:
    theirs, subnet = net.network("theirs")
    router = net.router(theirs, subnet)
    mine, _ = net.network("mine", "10.66.0.0/24", project_id="p2")
    for device in (router["id"], "", "../networks/x?y"):
        net.port(mine, project_id="p2", device_id=device, device_owner="network:router_interface")
    net.port(mine, project_id="p2", device_id=router["id"], device_owner="network:router_gateway")
    for project, hub_net in (("p1", theirs), ("p2", mine)):
        await net.networks.materialise_port("paris", net.port(hub_net, project_id=project), ME)
    await net.settle()
    copy = net.paris.only("routers", name="r")
    plugged = [p for p in net.paris.rows["ports"].values() if p["device_id"] == copy["id"]]
    assert len(plugged) == 1 and plugged[0]["network_id"] == net.paris.only("networks", name="theirs")["id"]


async def test_a_stamp_in_a_foreign_project_is_nobodys_copy(net: Net) -> None:
    hub_net, _ = net.network()
    squatter = net.paris.add("networks", {"name": "net", "project_id": "squatter", "description": f"cascade:{hub_net['id']}"})
    site_port = await net.networks.materialise_port("paris", net.port(hub_net), ME)
    assert net.paris.rows["ports"][site_port]["network_id"] != squatter["id"]
