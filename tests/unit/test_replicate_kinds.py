"""Flavors, key pairs and volume types at sites follow the hub; what was a site's own stays so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cascade.model.errors import NativeFault, SiteUnreachable, Terminal
from cascade.reconcile.compute import Compute
from cascade.reconcile.replicate import Replicas
from cascade.reconcile.volume import Volumes
from cascade.sites.registry import Sites
from cascade.store import Store
from tests.unit.replicas_fake import FakeSouth, caller, rig

ANN, BOB = caller("ann"), caller("bob")


class Rig:
    """Hub, two sites, and what keeps them in line."""

    def __init__(self, store: Store, south: FakeSouth, sites: Sites) -> None:
        self.store, self.south, self.sites = store, south, sites
        self.hub, self.paris, self.tokyo = (south.clouds[n] for n in ("hub", "paris", "tokyo"))
        self.compute = Compute(store, south, sites)  # type: ignore[arg-type]
        self.volumes = Volumes(store, south, sites)  # type: ignore[arg-type]
        self.replicas = Replicas(sites, self.compute, self.volumes)

    async def changed(self, kind: str, hub_id: str) -> None:
        self.replicas.changed(kind, hub_id)
        await self.replicas.queue.drain()


@pytest.fixture
async def r(tmp_path: object) -> AsyncIterator[Rig]:
    found = Rig(*await rig(f"sqlite+aiosqlite:///{tmp_path}/t.db", "paris", "tokyo"))
    yield found
    await found.store.close()


async def test_flavor_is_made_equal_and_believed_for_a_while(r: Rig) -> None:
    r.hub.flavor("m1 a/b")["extra_specs"] = {"hw:cpu_policy": "shared"}
    await asyncio.gather(*(r.compute.materialise_flavor("paris", "m1 a/b", ANN) for _ in range(5)))
    assert r.paris.flavors["m1 a/b"] == r.hub.flavors["m1 a/b"]
    before = r.south.calls.total()
    await r.compute.materialise_flavor("paris", "m1 a/b", ANN)
    assert r.south.calls.total() == before + 1  # the hub alone: it judges every use


async def test_private_flavor_is_opened_to_those_the_hub_opens_it_to(r: Rig) -> None:
    r.hub.flavor("secret", public=False)
    with pytest.raises(NativeFault):
        await r.compute.materialise_flavor("paris", "secret", ANN)
    assert "secret" not in r.paris.flavors
    r.hub.access["secret"] |= {"p-ann", "p-bob"}
    for who in (ANN, BOB):
        await r.compute.materialise_flavor("paris", "secret", who)
    r.paris.access["secret"].add("the site's own project")
    r.hub.access["secret"].discard("p-bob")
    await r.changed("flavor", "secret")
    assert r.paris.access["secret"] == {"paris:p-ann", "the site's own project"}


async def test_foreign_shape_is_reported_and_equal_shape_adopted(r: Rig) -> None:
    r.hub.flavor("42", 64)
    r.paris.flavor("42", 64)
    r.tokyo.flavor("42", 128)
    assert await r.compute.sync_flavors("paris") == []
    assert await r.compute.sync_flavors("tokyo") == ["flavor 42 at tokyo: ram is 128, at the hub 64"]
    with pytest.raises(Terminal):
        await r.compute.materialise_flavor("tokyo", "42", ANN)
    del r.hub.flavors["42"]
    await r.changed("flavor", "42")
    assert "42" in r.paris.flavors and r.tokyo.flavors["42"]["ram"] == 128  # never ours to delete


async def test_ours_goes_with_the_hubs_and_comes_back_in_its_new_shape(r: Rig) -> None:
    r.hub.flavor("x", 64)
    await r.changed("flavor", "x")
    r.hub.flavor("x", 256)  # deleted and made anew while nobody told the sites
    await r.compute.flavors.sync("paris", "x")
    assert r.paris.flavors["x"]["ram"] == 256
    del r.hub.flavors["x"]
    await r.compute.sync_flavors("paris")
    assert "x" not in r.paris.flavors and await r.store.pairs.all("flavor", site="paris") == []


async def test_taken_name_gets_a_private_one(r: Rig) -> None:
    r.paris.flavor("other", name="m1.small")
    r.hub.flavor("1", name="m1.small")
    await r.compute.materialise_flavor("paris", "1", ANN)
    assert r.paris.flavors["1"]["name"] == "m1.small (1)"


async def test_a_dead_site_gets_it_when_it_is_back(r: Rig) -> None:
    r.hub.flavor("x")
    r.south.down.add("tokyo")
    await r.changed("flavor", "x")
    assert "x" in r.paris.flavors and "x" not in r.tokyo.flavors and len(r.replicas.queue) == 1
    r.south.down.clear()
    for tell in r.sites.health.on_up:
        tell("tokyo")
    await r.replicas.queue.drain()
    assert "x" in r.tokyo.flavors


async def test_keypair_is_the_users_and_replaced_when_it_differs(r: Rig) -> None:
    r.hub._keypair("POST", [], {}, {"keypair": {"name": "k", "public_key": "one"}}, "u-ann")
    await r.compute.materialise_keypair("paris", "k", ANN)
    r.hub.keys["u-ann", "k"].update(public_key="two", fingerprint="fp two")
    await r.compute.materialise_keypair("paris", "k", ANN)
    assert r.paris.keys["paris:u-ann", "k"]["public_key"] == "two"
    with pytest.raises(NativeFault):
        await r.compute.materialise_keypair("paris", "k", BOB)


async def test_volume_types_are_paired_by_name(r: Rig) -> None:
    hub = r.hub.volume_type("__DEFAULT__")
    site = r.paris.volume_type("__DEFAULT__", volume_backend_name="fast")
    gold = r.hub.volume_type("gold", qos="1")
    assert await r.volumes.sync_types("paris") == []
    pair = await r.store.pairs.get("volume_type", hub["id"], "paris")
    assert pair is not None and pair.site_id == site["id"] and site["extra_specs"] == {"volume_backend_name": "fast"}
    assert await r.volumes.sync_types("paris") == []
    assert sorted(t["name"] for t in r.paris.types.values()) == ["__DEFAULT__", "gold"]
    assert await r.volumes.materialise_type("paris", "gold", ANN) == await r.volumes.materialise_type("paris", gold["id"], ANN)
    assert await r.volumes.materialise_type("paris", "none such", ANN) is None


async def test_adopted_type_keeps_its_own_specs_and_loses_only_ours(r: Rig) -> None:
    gold = r.hub.volume_type("gold", a="1", b="2")
    site = r.paris.volume_type("gold", a="old", volume_backend_name="fast")
    await r.changed("volume_type", gold["id"])
    assert site["extra_specs"] == {"a": "1", "b": "2", "volume_backend_name": "fast"}
    del gold["extra_specs"]["a"]
    await r.changed("volume_type", gold["id"])
    assert site["extra_specs"] == {"b": "2", "volume_backend_name": "fast"}
    del r.hub.types[gold["id"]]
    await r.changed("volume_type", gold["id"])
    assert site["id"] in r.paris.types and await r.store.pairs.all("volume_type", site="paris") == []


async def test_type_in_use_anywhere_is_said_and_a_silent_site_is_no_yes(r: Rig) -> None:
    gold = r.hub.volume_type("gold")
    await r.changed("volume_type", gold["id"])
    assert await r.volumes.in_use("volume_type", gold["id"]) is None
    pair = await r.store.pairs.get("volume_type", gold["id"], "tokyo")
    assert pair is not None
    r.tokyo.volumes.append({"volume_type_id": pair.site_id})
    assert await r.volumes.in_use("volume_type", gold["id"]) == "tokyo"
    del r.hub.types[gold["id"]]
    await r.changed("volume_type", gold["id"])  # refused there while in use, and tried again
    assert pair.site_id in r.tokyo.types and len(r.replicas.queue) == 1
    r.tokyo.volumes.clear()
    await r.changed("volume_type", gold["id"])
    assert r.tokyo.types == {} and r.paris.types == {}
    silver = r.hub.volume_type("silver")
    await r.changed("volume_type", silver["id"])
    r.south.down.add("tokyo")
    with pytest.raises(SiteUnreachable):
        await r.volumes.in_use("volume_type", silver["id"])


async def test_type_made_anew_under_its_name_takes_over_the_replica(r: Rig) -> None:
    old = r.hub.volume_type("gold")
    await r.changed("volume_type", old["id"])
    del r.hub.types[old["id"]]
    new = r.hub.volume_type("gold")
    await r.changed("volume_type", new["id"])
    await r.changed("volume_type", old["id"])
    pair = await r.store.pairs.get("volume_type", new["id"], "paris")
    assert pair is not None and list(r.paris.types) == [pair.site_id]


async def test_two_at_once_make_one_type(r: Rig) -> None:
    gold = r.hub.volume_type("gold")
    await asyncio.gather(*(r.volumes.sync("volume_type", "paris", gold["id"]) for _ in range(4)))
    assert len(r.paris.types) == 1
