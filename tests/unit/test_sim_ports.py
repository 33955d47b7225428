"""The ports of a population: listed as the same ports in a plain table would be, and recognised by those who made their like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.reconcile.net.replica import stamped
from cascade.reconcile.ports import Ports as HubPorts
from sim import app
from sim.population import tenant
from sim.population_ports import Layout, Leases, Ports
from sim.world import Options, World
from tests.unit.test_sim_nova import Place, free_ports

NET = "network/v2.0"


def layout(servers: int = 40, sites: int = 3, tenants: int = 4) -> Layout:
    return Layout({n: f"site{n}" for n in range(1, sites + 1)}, sites, tenants, servers)


@pytest.mark.parametrize(("servers", "sites", "tenants"), [(1, 1, 1), (7, 1, 10), (3, 2, 10), (40, 3, 4), (101, 5, 3)])
def test_every_server_has_one_address_of_its_tenants_network(servers: int, sites: int, tenants: int) -> None:
    """Those of both sites are different, are in the subnet, and lead back to the server."""
    where = layout(servers, sites, tenants)
    seen = set()
    for site in where.sites:
        for n in range(servers):
            one, address = where.whose(site, n), where.address(site, n)
            assert n in where.cut(site, one) and where.at(one, address) == (site, n)
            seen.add((one, address))
    assert len(seen) == servers * sites
    assert all(int(a.rpartition(".")[2]) >= 0 and a in {str(h) for h in where.net.hosts()} for _, a in seen)
    assert where.at(min(where.places), "10.0.0.1") is None and where.at(min(where.places), "::1") is None


@settings(max_examples=60)
@given(st.sampled_from([0, 2]), st.data())
def test_what_is_sought_is_found_by_id(site: int, data: st.DataObject) -> None:
    """As in a plain table, whatever was changed, made or deleted since; never a row of before the marker."""
    table = Ports(site, layout(), 1e9)
    everything = [table.ident(n) for n in table.numbers()]
    for ident in data.draw(st.sets(st.sampled_from(everything), max_size=5)):
        del table[ident]
    left = [i for i in everything if i in table]
    for ident in data.draw(st.sets(st.sampled_from(left), max_size=5)):
        table[ident] |= {"device_id": "", "device_owner": ""}
    table["new"] = {**table.row(next(iter(table.numbers()))), "id": "new"}
    rows = sorted(table.values(), key=lambda r: str(r["id"]))
    some = data.draw(st.sampled_from(rows))
    name = data.draw(st.sampled_from(["id", "device_id", "description", "network_id", "project_id", "security_groups"]))
    value = some[name][0] if name == "security_groups" else some[name]
    after = data.draw(st.sampled_from(["", *left]))

    def fits(row: dict[str, Any]) -> bool:
        return bool(value in row[name] if name == "security_groups" else row[name] == value)

    found = list(table.select({name: [value]}, after))
    assert [r["id"] for r in found] == sorted(r["id"] for r in found)
    assert [r["id"] for r in found if fits(r)] == [r["id"] for r in rows if fits(r) and r["id"] > after]
    assert sorted(r["id"] for r in table.having(name, value)) == [r["id"] for r in rows if fits(r)]
    assert table.count_of(some["project_id"]) == sum(r["project_id"] == some["project_id"] for r in rows)


def test_a_page_of_a_million_is_not_all_of_them() -> None:
    """What is computed for a page of the hub's list is about that page."""
    table = Ports(0, layout(10_000, 100, 10), 1e9)
    made: list[int] = []
    row = table.row
    table.row = lambda n: made.append(n) or row(n)  # type: ignore[method-assign,func-returns-value]
    page = [r["id"] for _, r in zip(range(10), table.select({}), strict=False)]
    again = [r["id"] for _, r in zip(range(10), table.select({}, page[-1]), strict=False)]
    assert len({*page, *again}) == 20 and max(page) < min(again) and len(made) <= 24


def test_an_address_is_held_until_its_port_goes() -> None:
    table = Ports(2, layout(), 1e9)
    one = table.layout.whose(2, 7)
    held, address = Leases(table, one), table.layout.address(2, 7)
    assert held[address] == {"port": table.ident(7)} and address in held
    assert held.pop(address) == {"port": table.ident(7)} and address not in held and held.pop(address) is None
    held[address] = {"port": "other"}
    assert held.get(address) == {"port": "other"} and {"port": "other"} in list(held.values())
    elsewhere = next(a for n in range(40) if table.layout.whose(1, n) == one for a in [table.layout.address(1, n)])
    assert elsewhere not in held and elsewhere in Leases(Ports(0, table.layout, 1e9), one)


@pytest.fixture
async def places() -> AsyncIterator[tuple[Place, Place]]:
    """The hub and one of two sites, with servers."""
    names = frozenset({"one", "two"})
    options = Options(servers=40, tenants=2, build=0, delete=0, volume=0)
    world = World(["one", "two"], free_ports(3), options, names)
    runners = await app.start(world)
    try:
        async with aiohttp.ClientSession() as session:
            hub, one = Place(session, world, "hub"), Place(session, world, "one")
            for who in ("admin", "tenant-0", "tenant-1"):
                one.tokens[who] = hub.tokens[who] = await hub.token(who, who)
            yield hub, one
    finally:
        await app.stop(runners)


async def ports(place: Place, query: str = "", who: str = "admin") -> list[dict[str, Any]]:
    """A list."""
    status, doc = await place("GET", f"/ports{query}", service=NET, who=who)
    assert status == 200, doc
    return list(doc["ports"])


async def test_servers_and_ports_tell_the_same(places: tuple[Place, Place]) -> None:
    """Addresses, interfaces and groups of every server at a site are those of its port there."""
    _, one = places
    _, doc = await one("GET", "/servers/detail?all_tenants=1", who="admin")
    by_server = {p["device_id"]: p for p in await ports(one)}
    assert len(doc["servers"]) == len(by_server) == 40
    for s in doc["servers"]:
        port = by_server[s["id"]]
        ((name, (address,)),) = s["addresses"].items()
        assert name == next(tenant(n)[0] for n in range(2) if tenant(n)[1] == s["tenant_id"])
        assert (address["addr"], address["OS-EXT-IPS-MAC:mac_addr"]) == (port["fixed_ips"][0]["ip_address"], port["mac_address"])
        assert port["binding:host_id"] == s["OS-EXT-SRV-ATTR:host"] and port["project_id"] == s["tenant_id"]
        assert s["security_groups"] == [{"name": name}] and port["status"] == "ACTIVE"
    server, port = next(iter(by_server.items()))
    _, doc = await one("GET", f"/servers/{server}/os-interface", who="admin")
    assert [(i["port_id"], i["net_id"], i["fixed_ips"]) for i in doc["interfaceAttachments"]] == [
        (port["id"], port["network_id"], port["fixed_ips"])
    ]


async def test_a_site_s_port_is_the_copy_of_the_hub_s(places: tuple[Place, Place]) -> None:
    """Stamped, with its MAC, addresses, network and group; the hub's is of the server, and marked as made for it."""
    hub, one = places
    copies = await ports(one)
    kinds = {"network_id": "networks", "security_groups": "security-groups", "subnet_id": "subnets"}
    for copy in copies[:5]:
        (port,) = await ports(hub, f"?device_id={copy['device_id']}")
        assert stamped(copy) == port["id"] and HubPorts.made(port) and port["device_owner"] == "compute:one"
        assert copy["mac_address"] == port["mac_address"] and copy["project_id"] == port["project_id"]
        assert [f["ip_address"] for f in copy["fixed_ips"]] == [f["ip_address"] for f in port["fixed_ips"]]
        for name, kind in kinds.items():
            here, there = (p["fixed_ips"][0] if name == "subnet_id" else p for p in (copy, port))
            (at_site,), (at_hub,) = (v if isinstance(v, list) else [v] for v in (here[name], there[name]))
            _, doc = await one("GET", f"/{kind}/{at_site}", service=NET, who="admin")
            ((_, row),) = doc.items()
            assert stamped(row) == at_hub
    _, doc = await one("GET", "/subnets", service=NET, who="admin")
    pools = {tuple(s["allocation_pools"][0].values()) for s in doc["subnets"] if s["description"]}
    reserved = {p["fixed_ips"][0]["ip_address"] for p in await ports(hub, "?device_id=cascade-one&device_owner=network:dhcp")}
    assert pools == {(a, a) for a in reserved}


async def test_lists_have_pages_and_filters(places: tuple[Place, Place]) -> None:
    """Walked by marker every port comes once, by id; tenants see their own."""
    hub, one = places
    whole = await ports(one)
    walked: list[str] = []
    while page := await ports(one, f"?limit=7{f'&marker={walked[-1]}' if walked else ''}"):
        walked += [p["id"] for p in page]
    assert walked == sorted(p["id"] for p in whole) and len(walked) == 40
    assert (await one("GET", "/ports?limit=2&marker=nobody", service=NET, who="admin"))[0] == 404
    mine = await ports(one, who="tenant-0")
    assert {p["project_id"] for p in mine} == {one.tokens["tenant-0"][1]} and len(mine) == 20
    some = whole[3]
    for query in (
        f"network_id={some['network_id']}", f"project_id={some['project_id']}", f"tenant_id={some['project_id']}",
        f"fixed_ips=subnet_id%3D{some['fixed_ips'][0]['subnet_id']}", f"security_groups={some['security_groups'][0]}",
    ):  # fmt: skip
        found = await ports(one, f"?{query}")
        assert {p["id"] for p in found} == {p["id"] for p in whole if p["network_id"] == some["network_id"]}, query
    at_hub = await ports(hub, f"?description=&project_id={some['project_id']}&device_owner=compute:one")
    assert len(at_hub) == 20 and (await ports(hub, "?device_owner=network:router_interface")) == []
    upside_down = await ports(one, "?sort_key=id&sort_dir=desc&limit=3")
    assert [p["id"] for p in upside_down] == walked[:-4:-1]


async def test_they_live_as_others_do(places: tuple[Place, Place]) -> None:
    """A computed port has what a made one has, keeps its MAC and address from others, and is freed when its server goes."""
    hub, one = places
    for place in (hub, one):
        (port,) = await ports(place, f"?limit=1&project_id={place.tokens['tenant-1'][1]}")
        wish = {"port": {"network_id": port["network_id"]}}
        status, doc = await place("POST", "/ports", wish, service=NET, who="admin")
        assert status == 201 and set(doc["port"]) == set(port), doc
        held = {"fixed_ips": [{"ip_address": port["fixed_ips"][0]["ip_address"]}]}
        for taken in ({"mac_address": port["mac_address"]}, held):
            assert (await place("POST", "/ports", {"port": {**wish["port"], **taken}}, service=NET, who="admin"))[0] == 409
        for kind in ("networks", "subnets", "security-groups"):
            ident = {"networks": port["network_id"], "subnets": port["fixed_ips"][0]["subnet_id"]}.get(kind)
            ident = ident or port["security_groups"][0]
            assert (await place("DELETE", f"/{kind}/{ident}", service=NET, who="admin"))[0] == 409
    server = port["device_id"]
    assert (await one("DELETE", f"/servers/{server}", who="admin"))[0] == 204
    for _ in range(100):
        (now,) = await ports(one, f"?id={port['id']}")
        if not now["device_id"]:
            break
        await asyncio.sleep(0.01)
    assert (now["device_id"], now["binding:host_id"], now["description"]) == ("", "", port["description"])
    assert (await one("DELETE", f"/ports/{port['id']}", service=NET, who="admin"))[0] == 204
    assert (await ports(one, f"?id={port['id']}")) == [] and len(await ports(one)) == 40  # one was made
    wish["port"] |= held
    assert (await one("POST", "/ports", wish, service=NET, who="admin"))[0] == 201


async def test_what_they_stand_on_is_as_neutron_makes_it(places: tuple[Place, Place]) -> None:
    """Networks, subnets and groups have the fields of those that are made."""
    for place in places:
        _, doc = await place("POST", "/networks", {"network": {"name": "n"}}, service=NET, who="tenant-1")
        wish = {"network_id": doc["network"]["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}
        await place("POST", "/subnets", {"subnet": wish}, service=NET, who="tenant-1")
        await place("POST", "/security-groups", {"security_group": {"name": "g"}}, service=NET, who="tenant-1")
        for kind in ("networks", "subnets", "security-groups"):
            _, doc = await place("GET", f"/{kind}?project_id={place.tokens['tenant-1'][1]}", service=NET, who="admin")
            ((_, rows),) = doc.items()
            seeded = [r for r in rows if r["name"] == "tenant-1"]
            assert len(seeded) == 1 and {frozenset(r) for r in rows} == {frozenset(seeded[0])}, kind
