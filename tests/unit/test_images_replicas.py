"""Images at sites: copied once, judged by the hub at every use, and following it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cascade.model.errors import BadReply, NativeFault
from cascade.reconcile import imagedoc
from cascade.reconcile.images import Images, NotActive, NotYet
from cascade.sites.registry import Sites
from cascade.store import Store
from tests.unit.replicas_fake import FakeSouth, caller, rig

ANN, BOB = caller("ann"), caller("bob")
DATA = b"bits" * 5000


class Rig:
    """Everything one test needs."""

    def __init__(self, store: Store, south: FakeSouth, sites: Sites) -> None:
        self.store, self.south, self.sites = store, south, sites
        self.hub, self.paris = south.clouds["hub"], south.clouds["paris"]
        self.images = self.fresh()

    def fresh(self) -> Images:
        """As after a restart."""
        return Images(self.store, self.south, self.sites)  # type: ignore[arg-type]

    def image(self, **more: object) -> str:
        """An active image of Ann's."""
        _, made = self.hub.image_create({"name": "i", "disk_format": "raw", "container_format": "bare", **more}, "p-ann")
        self.hub.image_put(made["id"], DATA)
        ident: str = made["id"]
        return ident

    def uploads(self, target: str = "paris") -> int:
        return self.south.calls[target, "PUT", "/v2/images/*/file"]


@pytest.fixture
async def r(tmp_path: object) -> AsyncIterator[Rig]:
    found = Rig(*await rig(f"sqlite+aiosqlite:///{tmp_path}/t.db", "paris", "tokyo"))
    yield found
    await found.store.close()


async def test_many_boots_make_one_copy_with_the_same_id(r: Rig) -> None:
    image = r.image(hw_disk_bus="virtio")
    got = await asyncio.gather(*(r.images.materialise("paris", image, ANN) for _ in range(20)))
    assert set(got) == {image} and r.uploads() == 1 and r.paris.data[image] == DATA
    there = r.paris.images[image]
    assert there["owner"] == "svc-paris" and there["visibility"] == "shared" and there["hw_disk_bus"] == "virtio"
    assert r.paris.members[image] == {"paris:p-ann"} and imagedoc.stamped(there) == image
    assert await r.fresh().materialise("paris", image, ANN) == image and r.uploads() == 1


async def test_hub_judges_every_use(r: Rig) -> None:
    image = r.image()
    await r.images.materialise("paris", image, ANN)
    with pytest.raises(NativeFault) as e:
        await r.images.materialise("paris", image, BOB)
    assert e.value.status == 404 and e.value.target == "hub" and r.paris.members[image] == {"paris:p-ann"}
    r.hub.images[image]["status"] = "deactivated"
    with pytest.raises(NotActive, match="is not active"):
        await r.images.materialise("paris", image, ANN)


async def test_id_used_before_takes_another_and_a_pair(r: Rig) -> None:
    image = r.image()
    r.paris.image_create({"id": image}, "somebody of the site's own")
    r.paris.images[image]["status"] = "deleted"
    other = await r.images.materialise("paris", image, ANN)
    assert other != image and r.paris.data[other] == DATA
    pair = await r.store.pairs.get("image", image, "paris")
    assert pair is not None and pair.site_id == other


async def test_broken_copy_is_filled_not_made_anew(r: Rig) -> None:
    image = r.image()
    r.paris.image_create(imagedoc.south(r.hub.images[image], {}) | {"id": image}, None)  # queued: what a crash left
    assert await r.images.materialise("paris", image, ANN) == image
    assert [i["status"] for i in r.paris.images.values()] == ["active"]


async def test_wrong_bits_are_never_used(r: Rig) -> None:
    image = r.image()
    r.south.spoil = lambda data: data[:-1] + b"X"
    with pytest.raises(BadReply, match="differs"):
        await r.images.materialise("paris", image, ANN)
    assert await r.store.pairs.get("image", image, "paris") is None
    r.south.spoil = None
    other = await r.images.materialise("paris", image, ANN)
    assert other != image and r.paris.data[other] == DATA and r.paris.images[image]["status"] == "deleted"


async def test_another_owners_stamp_is_not_believed(r: Rig) -> None:
    image = r.image()
    _, bad = r.paris.image_create({"tags": [imagedoc.stamp(image)]}, "paris:p-bob")
    r.paris.image_put(bad["id"], DATA)
    assert await r.images.materialise("paris", image, ANN) == image


async def test_slow_copy_answers_not_yet_and_goes_on(r: Rig) -> None:
    image, gate = r.image(), asyncio.Event()
    copy = r.images._copier.bits

    async def slow(*args: object) -> None:
        await gate.wait()
        await copy(*args)  # type: ignore[arg-type]

    r.images._copier.bits = slow  # type: ignore[method-assign,assignment]
    with pytest.raises(NotYet) as e:
        await r.images.materialise("paris", image, ANN, wait=0.05)
    assert e.value.status == 503 and "Retry-After" in e.value.headers
    gate.set()
    assert await r.images.materialise("paris", image, ANN) == image and r.uploads() == 1


async def test_changes_at_the_hub_follow(r: Rig) -> None:
    image = r.image(hw_vif_model="e1000")
    r.hub.members[image].add("p-bob")
    for site in ("paris", "tokyo"):
        await r.images.materialise(site, image, ANN)
        await r.images.materialise(site, image, BOB)
    r.hub.members[image].clear()
    r.hub.images[image].update(status="deactivated", name="new", hw_disk_bus="scsi")
    del r.hub.images[image]["hw_vif_model"]
    await r.images.changed(image)
    await r.images.queue.drain()
    for site in ("paris", "tokyo"):
        there = r.south.clouds[site].images[image]
        assert (there["status"], there["name"], there["hw_disk_bus"]) == ("deactivated", "new", "scsi")
        assert "hw_vif_model" not in there and r.south.clouds[site].members[image] == {f"{site}:p-ann"}


async def test_delete_follows_at_once_and_one_missing_answer_is_not_believed(r: Rig) -> None:
    image = r.image()
    await r.images.materialise("paris", image, ANN)
    kept = r.hub.images.pop(image)
    await r.images.recover()
    await r.images.queue.drain()
    assert r.paris.images[image]["status"] == "active"  # looked once; looks again in a moment
    r.hub.images[image] = kept | {"status": "deleted"}
    r.paris.images[image]["protected"] = True
    await r.images.changed(image, deleted=True)
    await r.images.queue.drain()
    assert r.paris.images[image]["status"] == "deleted" and await r.store.pairs.all("image") == []


async def test_more_projects_than_members_allowed(r: Rig) -> None:
    image = r.image(visibility="public")
    for name in ("ann", *"abcdef"):
        await r.images.materialise("paris", image, caller(name))
    assert r.paris.images[image]["visibility"] == "community"
    r.hub.images[image]["visibility"] = "shared"
    await r.images.changed(image)
    await r.images.queue.drain()
    assert r.paris.images[image]["visibility"] == "shared" and r.paris.members[image] == {"paris:p-ann"}


async def test_evicted_replica_is_copied_again(r: Rig) -> None:
    image = r.image()
    await r.images.materialise("paris", image, ANN)
    r.paris.images[image]["status"] = "deleted"
    assert await r.fresh().materialise("paris", image, ANN) != image


async def test_kernel_and_ramdisk_come_along(r: Rig) -> None:
    kernel = r.image()
    image = r.image(kernel_id=kernel)
    await r.images.materialise("paris", image, ANN)
    assert r.paris.images[image]["kernel_id"] == kernel and r.paris.data[kernel] == DATA


async def test_prefetch_goes_home(r: Rig) -> None:
    image = r.image()
    await r.images.prefetch(image, "p-ann")
    assert len(r.images.moves) == 0  # no home yet
    await r.store.index.add("server", "s1", site="tokyo", project_id="p-ann", user_id="u", created=1.0)
    await r.images.prefetch(image, "p-ann")
    await r.images.moves.drain()
    assert r.uploads("tokyo") == 1


async def test_replica_deleted_by_somebody_else_counts_as_gone(r: Rig) -> None:
    image = r.image()
    await r.images.materialise("paris", image, ANN)
    for cloud in (r.hub, r.paris):
        cloud.images[image]["status"] = "deleted"
    await r.images.changed(image, deleted=True)
    await r.images.queue.drain()
    assert await r.store.pairs.all("image") == []


@pytest.mark.parametrize("breaks", [True, False], ids=["the stream breaks", "the bits arrive"])
async def test_deleted_while_it_is_copied(r: Rig, breaks: bool) -> None:
    image = r.image()

    def spoil(data: bytes) -> bytes:
        r.hub.images[image]["status"] = "deleted"
        return data[:-1] if breaks else data

    r.south.spoil = spoil
    if breaks:
        with pytest.raises(NotActive):
            await r.images.materialise("paris", image, ANN)
    else:
        await r.images.materialise("paris", image, ANN)
    await r.images.changed(image, deleted=True)
    await r.images.queue.drain()
    assert await r.store.pairs.of_hub("image", image) == []
    assert [i["status"] for i in r.paris.images.values()] == ["deleted"]


async def test_what_is_said_while_the_bits_travel_is_heard(r: Rig) -> None:
    image = r.image()

    def spoil(data: bytes) -> bytes:
        r.hub.images[image].update(status="deactivated", name="later")
        return data

    r.south.spoil = spoil
    await r.images.materialise("paris", image, ANN)
    await r.images.queue.drain()
    assert r.paris.images[image]["status"] == "deactivated" and r.paris.images[image]["name"] == "later"


async def test_an_image_deleted_before_its_turn_is_forgotten(r: Rig) -> None:
    image = r.image()
    r.hub.images[image]["status"] = "deleted"
    r.images.moves.add(("copy", image, "paris"))
    await r.images.moves.drain()
    assert len(r.images.moves) == 0
