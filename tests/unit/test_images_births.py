"""Images a site makes: at the hub at once, their bits later, whatever breaks in between."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cascade.model.errors import SiteUnreachable
from cascade.reconcile import imagedoc
from cascade.reconcile.images import NotActive
from tests.unit.replicas_fake import caller, rig
from tests.unit.test_images_replicas import ANN, DATA, Rig


@pytest.fixture
async def r(tmp_path: object) -> AsyncIterator[Rig]:
    found = Rig(*await rig(f"sqlite+aiosqlite:///{tmp_path}/t.db", "paris", "tokyo"))
    yield found
    await found.store.close()


def snapshot(r: Rig, **more: object) -> str:
    body = {"name": "snap", "visibility": "private", "image_type": "snapshot", "disk_format": "raw", "container_format": "bare"}
    _, made = r.paris.image_create({**body, **more}, "paris:p-ann")
    ident: str = made["id"]
    return ident


async def work(r: Rig, rounds: int = 6) -> None:
    """Run the queue, however far in the future things are put off."""
    for _ in range(rounds):
        await r.images.moves.drain()
        r.images.moves._clock = lambda base=r.images.moves._clock: base() + 60  # type: ignore[misc]
        await r.images.moves.drain()


async def test_known_at_once_active_when_carried(r: Rig) -> None:
    snap = snapshot(r, base_image_ref="x", owner_project_name="p-ann", owner_user_name="u-ann")
    hub_id = await r.images.born("paris", snap, ANN)
    there = r.hub.images[snap]
    assert hub_id == snap and there["status"] == "queued" and there["owner"] == "p-ann" and there["visibility"] == "private"
    assert there["owner_project_name"] == "ann" and there["owner_user_name"] == "ann"
    await r.images.moves.drain()
    with pytest.raises(NotActive):
        await r.images.materialise("paris", snap, ANN)
    r.paris.images[snap]["min_disk"] = 5
    r.paris.image_put(snap, DATA)
    assert await r.images.materialise("paris", snap, ANN) == snap  # usable where it was made already
    await work(r)
    assert (there["status"], there["min_disk"], r.hub.data[snap]) == ("active", 5, DATA)
    assert await r.store.intents.pending() == []
    assert await r.images.materialise("tokyo", snap, ANN) == snap and r.uploads("paris") == 0
    assert imagedoc.stamped(r.paris.images[snap]) == snap and there["tags"] == [] and there["owner_user_name"] == "ann"


async def test_empty_image_of_a_volume_backed_server(r: Rig) -> None:
    snap = snapshot(r, block_device_mapping="[]")
    await r.images.born("paris", snap, ANN)
    r.paris.image_put(snap, b"")
    await work(r)
    assert r.hub.images[snap]["status"] == "active" and r.hub.images[snap]["size"] == 0


async def test_hub_used_the_id_before(r: Rig) -> None:
    snap = snapshot(r)
    r.hub.image_create({"id": snap}, "p-bob")
    r.hub.images[snap]["status"] = "deleted"
    hub_id = await r.images.born("paris", snap, ANN)
    r.paris.image_put(snap, DATA)
    await work(r)
    assert hub_id != snap and r.hub.data[hub_id] == DATA
    pair = await r.store.pairs.get("image", hub_id, "paris")
    assert pair is not None and pair.site_id == snap


@pytest.mark.parametrize("recorded", [True, False])
async def test_taken_up_after_a_crash(r: Rig, recorded: bool) -> None:
    snap = snapshot(r)
    if recorded:
        await r.images.born("paris", snap, ANN)
    else:
        await r.store.intents.open("image.born", site="paris", project_id="p-ann", user_id="u-ann", resource_id=snap,
                                   request_id="r", body={"site_id": snap})  # fmt: skip
    r.paris.image_put(snap, DATA)
    r.images = r.fresh()
    r.images.births._clock = lambda base=r.images.births._clock: base() + 60  # type: ignore[misc]
    await r.images.recover()
    await work(r)
    assert r.hub.images[snap]["owner"] == "p-ann" and r.hub.data[snap] == DATA and await r.store.intents.pending() == []


async def test_failed_at_the_site_goes_at_the_hub(r: Rig) -> None:
    snap = snapshot(r)
    await r.images.born("paris", snap, ANN)
    r.paris.images[snap]["status"] = "deleted"
    await work(r)
    assert r.hub.images[snap]["status"] == "deleted" and await r.store.pairs.all("image") == []


async def test_deleted_north_before_it_was_whole(r: Rig) -> None:
    snap = snapshot(r)
    await r.images.born("paris", snap, ANN)
    r.hub.images[snap]["status"] = "deleted"
    await work(r)
    assert r.paris.images[snap]["status"] == "deleted" and await r.store.intents.pending() == []


async def test_silent_site_is_waited_for(r: Rig) -> None:
    snap = snapshot(r)
    await r.images.born("paris", snap, ANN)
    r.south.down.add("paris")
    with pytest.raises(SiteUnreachable):
        await r.images.births.step((await r.store.intents.pending())[0].id)
    await work(r, 2)
    assert r.hub.images[snap]["status"] == "queued"
    r.south.down.clear()
    r.paris.image_put(snap, DATA)
    await work(r)
    assert r.hub.images[snap]["status"] == "active"


async def test_private_birth_can_be_shared_later(r: Rig) -> None:
    snap = snapshot(r)
    await r.images.born("paris", snap, ANN)
    r.paris.image_put(snap, DATA)
    await work(r)
    r.hub.images[snap]["visibility"] = "shared"
    r.hub.members[snap].add("p-bob")
    await r.images.materialise("paris", snap, caller("bob"))
    assert r.paris.members[snap] == {"paris:p-bob"} and r.paris.images[snap]["owner"] == "paris:p-ann"


async def test_the_image_of_a_shelved_server_goes_with_its_shelving(r: Rig) -> None:
    snapshot(r, instance_uuid="s1", name="other-shelved")
    await r.images.shelved("paris", "s1", "s1", ANN)
    (snap,) = r.hub.images
    r.paris.image_put(snap, DATA)
    await work(r)
    assert r.hub.images[snap]["status"] == "active"
    await r.images.shelved("paris", "s1", "s1", ANN)  # shelved again, on a volume: nothing new was made
    assert [i.body for i in await r.store.intents.pending()] == [{"image": snap}]
    await r.images.recover()
    await work(r)
    assert r.hub.images[snap]["status"] == "active"  # it is shelved still, also after a restart
    await r.images.unshelved("s1", "paris")
    await work(r, 1)
    assert r.hub.images[snap]["status"] == "active"  # until the site has let go of it
    del r.paris.images[snap]
    await work(r)
    assert r.hub.images[snap]["status"] == "deleted" and await r.store.intents.pending() == []
