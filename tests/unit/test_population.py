"""A population lists exactly as the same servers and volumes would, one by one, in a plain table."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import app
from sim.computed import SEEN
from sim.population import Population, order, shares
from sim.population_volumes import Attachments, Volumes, attachments_of
from sim.world import Options, World
from tests.unit.test_sim_nova import Place, free_ports

FLAVOR = {"id": "42", "vcpus": 1, "ram": 128, "disk": 1}
OWNERS = [("p0", "u0"), ("p1", "u1"), ("p2", "u2")]


def population(count: int) -> Population:
    return Population(7, count, OWNERS, "nova", FLAVOR, 1_000_000.0)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from([None, "p0", "p1", "p2", "nobody"]), st.data())
def test_pages_are_slices_of_the_whole(count: int, limit: int, project: str | None, data: st.DataObject) -> None:
    table = population(count)
    for number in data.draw(st.sets(st.integers(0, count - 1), max_size=5)):
        table[table.ident(number)]["deleted"] = True
    whole = sorted((r for r in table.values() if not r["deleted"] and project in (None, r["project_id"])), key=order)
    walked, marker = [], None
    while page := table.page(project, marker, limit):
        walked += page
        marker = page[-1]["id"]
    assert [r["id"] for r in walked] == [r["id"] for r in whole]


def test_a_change_stays_and_a_look_is_forgotten() -> None:
    table = population(3 * SEEN)
    table[table.ident(5)]["name"] = "changed"
    for number in range(SEEN + 100):
        assert table.get(table.ident(number))["number"] == number
    assert table[table.ident(5)]["name"] == "changed"
    assert len(table.kept()) <= SEEN + 1
    assert table.get("nobody") is None and "nobody" not in table and table.ident(3 * SEEN) not in table


def test_every_tenant_is_in_two_sites() -> None:
    places = [tenant for mine in shares(100, 10).values() for tenant in mine]
    assert {places.count(t) for t in places} == {2} and len(set(places)) == 500


def volumes(servers: int) -> Volumes:
    return Volumes(7, servers, OWNERS, "kind", "host", 1_000_000.0)


@settings(max_examples=60)
@given(st.integers(2, 90), st.integers(1, 20), st.sampled_from([None, "p0", "p1", "p2", "nobody"]), st.data())
def test_pages_of_volumes_are_slices_of_the_whole_whose_ties_ids_break(
    servers: int, limit: int, project: str | None, data: st.DataObject
) -> None:
    table = volumes(servers)
    for number in data.draw(st.sets(st.integers(0, table.count - 1), max_size=5)):
        del table[table.ident(number)]
    for number in range(data.draw(st.integers(0, 3))):  # made later, in one second
        table[f"new-{number}"] = {**table.row(0), "id": f"new-{number}", "created_at": 2_000_000.0}
    mine = [r for r in table.values() if project in (None, r["project_id"])]
    whole = sorted(mine, key=lambda r: (r["created_at"], r["id"]), reverse=True)
    walked, marker = [], None
    while page := table.page(project, marker, limit):
        walked += page
        marker = page[-1]["id"]
    assert [r["id"] for r in walked] == [r["id"] for r in whole]
    if project:
        assert {r["id"] for r in table.of(project)} == {r["id"] for r in mine}


@pytest.mark.parametrize("servers", [1, 2, 3, 4, 5, 41, 44])
def test_servers_volumes_and_attachments_tell_the_same(servers: int) -> None:
    table, disks = population(servers), volumes(servers)
    attached = Attachments(disks, table)
    told = {(b["volume_id"], s["id"], b["attachment_id"], s["project_id"]) for s in table.values() for b in s["bdms"]}
    assert told == {(a["volume_id"], a["server_id"], a["id"], a["project_id"]) for a in attached.values()}
    in_use = {v["id"]: v for v in disks.values() if v["status"] == "in-use"}
    assert set(in_use) == {volume for volume, *_ in told}
    assert all(in_use[volume]["project_id"] == project for volume, _, _, project in told)
    assert all([a["id"] for a in attachments_of(attached, v)] == [i for w, _, i, _ in told if v == w] for v in in_use)


def test_what_is_deleted_stays_away() -> None:
    disks = volumes(40)
    ident = disks.ident(3)
    assert disks.pop(ident)["name"] == "volume-7-3" and disks.pop(ident) is None
    assert ident not in disks and disks.get(ident) is None and len(list(disks.values())) == 19
    with pytest.raises(KeyError):
        del disks[ident]


async def test_an_operator_deletes_some_at_the_site() -> None:
    names = frozenset({"one"})
    world = World(["one"], free_ports(2), Options(servers=40, tenants=2), names)
    runners = await app.start(world)
    try:
        async with aiohttp.ClientSession() as session:
            place = Place(session, world, "one")
            place.tokens["admin"] = await Place(session, world, "hub").token("admin", "admin")
            for cloud, count, status in (("one", 41, 400), ("hub", 1, 400), ("one", 10, 200)):
                doc = {"cloud": cloud, "servers": count}
                async with session.post(f"{world.hub.root}/_sim/vanish", json=doc) as r:
                    assert r.status == status
            listed = (await place("GET", "/servers?all_tenants=1", who="admin"))[1]["servers"]
            assert [s["name"] for s in listed] == [f"server-1-{n}" for n in range(30)]
            volumes = (await place("GET", "/volumes/detail?all_tenants=1", who="admin", service="volume/v3"))[1]["volumes"]
            assert {v["status"] for v in volumes if int(v["name"][9:]) >= 15} == {"available"}
    finally:
        await app.stop(runners)


async def test_over_http_they_live_as_others_do() -> None:
    world = World(
        ["one", "two"], free_ports(3), Options(servers=40, tenants=2, build=0, delete=0, volume=0), frozenset({"one", "two"})
    )
    runners = await app.start(world)
    try:
        async with aiohttp.ClientSession() as session:
            place = Place(session, world, "one")
            place.tokens["tenant-0"] = await Place(session, world, "hub").token("tenant-0", "tenant-0")
            await _life(place)
    finally:
        await app.stop(runners)


async def _life(place: Place) -> None:
    who, block = "tenant-0", "volume/v3"
    _, doc = await place("GET", "/servers/detail?limit=1000", who=who)
    attached = {s["id"]: [v["id"] for v in s["os-extended-volumes:volumes_attached"]] for s in doc["servers"]}
    assert len(attached) == 20 and {len(v) for v in attached.values()} == {0, 1}
    seen, marker = [], ""
    while rows := (await place("GET", f"/volumes/detail?limit=3{marker}", who=who, service=block))[1]["volumes"]:
        seen += rows
        marker = f"&marker={rows[-1]['id']}"
    assert [v["id"] for v in seen] == [v["id"] for v in sorted(seen, key=lambda v: (v["created_at"], v["id"]), reverse=True)]
    assert len(seen) == 10 and len({v["created_at"] for v in seen}) == 3
    assert {(a["server_id"], v["id"]) for v in seen for a in v["attachments"]} == {(s, v) for s, of in attached.items() for v in of}
    free = next(v for v in seen if v["status"] == "available")
    _, doc = await place("GET", f"/volumes?status=available&name={free['name']}", who=who, service=block)
    assert [v["id"] for v in doc["volumes"]] == [free["id"]]
    server, (volume,) = next((s, v) for s, v in attached.items() if v)
    _, doc = await place("GET", f"/servers/{server}", who=who)
    image = doc["server"]["image"]["id"]
    assert (await place("GET", f"/v2/images/{image}", who=who, service="image"))[1]["status"] == "active"
    assert (await place("DELETE", f"/volumes/{volume}", who=who, service=block))[0] == 400
    assert (await place("DELETE", f"/servers/{server}", who=who))[0] == 204
    for _ in range(100):
        _, doc = await place("GET", f"/volumes/{volume}", who=who, service=block)
        if doc["volume"]["status"] == "available":
            break
    assert doc["volume"]["attachments"] == []
    _, doc = await place("GET", "/snapshots/detail", who=who, service=block)
    assert [s["volume_id"] in {v["id"] for v in seen} for s in doc["snapshots"]] == [True]
    assert (await place("DELETE", f"/volumes/{volume}", who=who, service=block))[0] == 202
    for _ in range(100):
        if (await place("GET", f"/volumes/{volume}", who=who, service=block))[0] == 404:
            break
    _, doc = await place("GET", "/volumes", who=who, service=block)
    assert volume not in {v["id"] for v in doc["volumes"]} and len(doc["volumes"]) == 9
