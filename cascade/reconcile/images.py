"""Images between hub and sites. The hub owns every image; a site holds copies, made at first use and kept in line.

Security (design review 6.3): whether a caller may use an image is asked of the hub at every use; a replica is owned by
the service account, shared with exactly the shadow projects that used it, and follows deactivation and deletion.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import CascadeError
from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.reconcile import imagedoc
from cascade.reconcile.births import Births
from cascade.reconcile.copies import Copies, NotActive, NotYet
from cascade.reconcile.imagecopy import Copier, Doc
from cascade.reconcile.pages import segment
from cascade.reconcile.shelved import VERB as SHELVED
from cascade.reconcile.shelved import Shelved
from cascade.reconcile.workqueue import WorkQueue
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

__all__ = ["PATIENCE", "Images", "NotActive", "NotYet"]

PATIENCE = 20.0
"""Seconds a request waits for a copy; beyond, proxies and clients give up and try again."""
LEASE = 60.0
"""Seconds without renewal after which another gateway may take over a copy."""
BELIEVED = 30.0
"""Seconds a replica seen active, and a member seen added, are believed to be there still."""
_LINKED = ("kernel_id", "ramdisk_id")
_OPEN = ("public", "community")
"""Visibilities with which the hub lets everybody use an image."""


class Images:
    """``run`` works in the background until cancelled; everything else is called by requests."""

    def __init__(self, store: Store, south: South, sites: Sites, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._south, self._sites, self._clock = store, south, sites, clock
        self._copier = Copier(store, south)
        self.births = Births(store, south, self._copier)
        self.shelving = Shelved(store, south, self._copier, lambda image: self.changed(image, deleted=True))
        self.queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync, name="images", limit=8)
        """(hub image, site): bring the replica in line."""
        self.moves: WorkQueue[tuple[str, str, str]] = WorkQueue(self._move, name="image bits", limit=16)
        """(``copy``, ``born``, ``shelved``; hub image or intent; site): apart, so that nothing waits behind hours of bits."""
        sites.health.on_up.append(self._returned)
        self.copies = Copies(self._copy, clock=clock)
        self._seen: dict[tuple[str, str], float] = {}
        self._shared: dict[tuple[str, str, str], float] = {}
        self._missed: set[str] = set()
        """Hub images that were not there when looked at once; the second look decides."""

    # -- what requests call ------------------------------------------------------------------------------------------

    async def materialise(self, site: str, image_id: str, caller: Caller, *, wait: float = PATIENCE) -> str:
        """The site's id of the image, its bits there, usable by the caller's shadow project.

        Raises NativeFault (hub) for an image the hub does not show the caller, NotActive, NotYet, SiteError.
        """
        reply = await self._south.call(HUB, "image", "GET", f"/v2/images/{segment(image_id)}", as_=caller)
        image: Doc = reply.expect(200).json()
        pair = await self._store.pairs.get("image", image["id"], site)
        if image["status"] != "active":
            # Made by this very site a moment ago and still travelling north: here it can be used already.
            born = pair is not None and image["status"] in ("queued", "saving", "importing")
            there = await self._copier.show(site, pair.site_id) if born and pair else None
            if pair is None or there is None or there["status"] != "active":
                raise NotActive(image["id"])
            await self._share(site, pair.site_id, caller.project_id, image)
            return pair.site_id
        site_id = pair.site_id if pair is not None and await self._there(pair) else await self.copies.wait(site, image["id"], wait)
        await self._share(site, site_id, caller.project_id, image)
        return site_id

    async def arrived(self, site: str, image_id: str, project_id: str) -> str:
        """The same for a build request, whose client was shown the image when it asked: no token is left to ask with.

        Raises NotYet, NotActive, CopyFailed, NativeFault (the site takes no more members), SiteError.
        """
        image = await self._copier.show(HUB, image_id)
        if image is None or image["status"] != "active":
            raise NotActive(image_id)
        pair = await self._store.pairs.get("image", image_id, site)
        site_id = pair.site_id if pair is not None and await self._there(pair) else await self.copies.look(site, image_id)
        await self._share(site, site_id, project_id, image)
        return site_id

    async def born(self, site: str, site_image_id: str, caller: Caller, *, request_id: str = "") -> str:
        """A site was asked to make an image (createImage, volume upload): it is the hub's from now on.

        Returns the hub's id, the same unless the hub refuses it. Raises SiteError, NativeFault (hub: image quota).
        """
        intent, hub_id = await self.births.begin(site, site_image_id, caller, request_id)
        self.moves.add(("born", intent, site))
        return hub_id

    async def shelved(self, site: str, server: str, there: str, caller: Caller, *, request_id: str = "") -> None:
        """A server (north id, site's id) was shelved: its image is born. Raises SiteError, NativeFault."""
        image = await self.shelving.find(site, there, caller)
        if image is not None:
            await self.shelving.begin(site, server, await self.born(site, image, caller, request_id=request_id), caller, request_id)

    async def unshelved(self, server: str, site: str) -> None:
        """A server is not shelved any more, or deleted: its image goes when the site's does."""
        for intent in await self.shelving.of(server):
            self.moves.add(("shelved", intent, site))

    async def changed(self, hub_id: str, *, deleted: bool = False) -> None:
        """The hub's image was changed (or deleted, with success) through us: its replicas follow in the background."""
        if deleted:
            self._missed.add(hub_id)
        for pair in await self._store.pairs.of_hub("image", hub_id):
            self._forget(hub_id, pair.site)
            self.queue.add((hub_id, pair.site))

    async def prefetch(self, hub_id: str, project_id: str) -> None:
        """An upload ended: carry the bits to the owner's home site before the first boot asks for them."""
        home = await self._store.index.home_of(project_id)
        if home is not None and self._sites.usable(home):
            self.moves.add(("copy", hub_id, home))

    # -- background --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take up what a former process left, then work until cancelled."""
        await self.recover()
        await asyncio.gather(self.queue.run(), self.moves.run())

    async def recover(self) -> None:
        """Open births go on; every replica is compared with its hub image once (changes may have been missed)."""
        for intent in await self._store.intents.pending(verb="image.born"):
            self.moves.add(("born", intent.id, intent.site))
        for intent in await self._store.intents.pending(verb=SHELVED):
            self.moves.add(("shelved", intent.id, intent.site))
        for pair in await self._store.pairs.all("image"):
            self.queue.add((pair.hub_id, pair.site))

    def _returned(self, target: str) -> None:
        """A site, or the hub, answers again."""
        self.queue.hurry(lambda key: target in (key[1], HUB))
        self.moves.hurry(lambda key: target in (key[2], HUB))

    async def _move(self, key: tuple[str, str, str]) -> float | None:
        what, ident, site = key
        if what == "born":
            return await self.births.step(ident)
        if what == "shelved":
            return await self.shelving.step(ident)
        with contextlib.suppress(NotActive):  # deleted or deactivated before its turn came: whoever needs it will ask
            await self._copy(site, ident)
        return None

    async def _sync(self, key: tuple[str, str]) -> float | None:
        """One replica as the hub's image is now. One 404 proves nothing: the second, a moment later, does."""
        hub_id, site = key
        pair = await self._store.pairs.get("image", hub_id, site)
        if pair is None:
            return None
        image = await self._copier.show(HUB, hub_id)
        if image is None:
            if hub_id not in self._missed:
                self._missed.add(hub_id)
                return 2.0
            await self._remove(pair)
            if not await self._store.pairs.of_hub("image", hub_id):
                self._missed.discard(hub_id)
            return None
        self._missed.discard(hub_id)
        if image["status"] not in ("active", "deactivated"):
            return None  # being born: its birth sees to it
        there = await self._copier.show(site, pair.site_id)
        if there is None:
            await self._store.pairs.drop("image", hub_id, site)  # evicted by the site's owner; the next use copies anew
            return None
        await self._align(site, image, there)
        await self._members(site, image, there)
        return None

    async def _align(self, site: str, image: Doc, there: Doc) -> None:
        want, have = image["status"], there["status"]
        if want != have and {want, have} == {"active", "deactivated"}:
            action = "deactivate" if want == "deactivated" else "reactivate"
            path = f"/v2/images/{there['id']}/actions/{action}"
            (await self._south.call(site, "image", "POST", path)).expect(204)
        body = imagedoc.south(image, await self._copier.mapping(site, image))
        operations = imagedoc.patch(body, there)
        if operations:
            await self._copier.patch(site, there["id"], operations)

    async def _members(self, site: str, image: Doc, there: Doc) -> None:
        """Shadow projects that may not use the hub's image any more lose the replica; nobody gains it here."""
        if image["visibility"] in _OPEN or there["visibility"] == "private":
            return
        if there["visibility"] != "shared":
            await self._copier.patch(site, there["id"], [{"op": "replace", "path": "/visibility", "value": "shared"}])
        members = await self._member_ids(site, there["id"])
        projects = await self._store.pairs.to_hub(site, members) if members else {}
        allowed = {image["owner"], *(await self._member_ids(HUB, image["id"]) if image["visibility"] == "shared" else ())}
        for member in members:
            pair = projects.get(member)
            if (pair.hub_id if pair else member) not in allowed:
                path = f"/v2/images/{there['id']}/members/{member}"
                (await self._south.call(site, "image", "DELETE", path)).expect(204, 404)

    async def _member_ids(self, target: str, image_id: str) -> set[str]:
        reply = await self._south.call(target, "image", "GET", f"/v2/images/{image_id}/members")
        return {m["member_id"] for m in reply.expect(200).json()["members"]}

    async def _remove(self, pair: Pair) -> None:
        await self._copier.delete(pair.site, pair.site_id)
        self._forget(pair.hub_id, pair.site)
        await self._store.pairs.drop("image", pair.hub_id, pair.site)

    # -- one replica -------------------------------------------------------------------------------------------------

    async def _there(self, pair: Pair) -> bool:
        key = (pair.hub_id, pair.site)
        if self._clock() - self._seen.get(key, -BELIEVED) < BELIEVED:
            return True
        image = await self._copier.show(pair.site, pair.site_id)
        if image is None:
            log.warning("replica is gone", site=pair.site, image=pair.hub_id)
            await self._store.pairs.drop("image", pair.hub_id, pair.site)
            return False
        if image["status"] == "deactivated":  # the hub's is active, as was just asked
            path = f"/v2/images/{pair.site_id}/actions/reactivate"
            (await self._south.call(pair.site, "image", "POST", path)).expect(204)
        self._seen[key] = self._clock()
        return True

    async def _copy(self, site: str, hub_id: str) -> str:
        """One copy at a time per image and site, over all gateways."""
        async with self._store.leases.single_flight(f"image/{hub_id}/{site}", self._store.owner, LEASE, LEASE * 60):
            pair = await self._store.pairs.get("image", hub_id, site)
            if pair is not None and await self._copier.show(site, pair.site_id) is not None:
                return pair.site_id
            image = await self._copier.show(HUB, hub_id)
            if image is None or image["status"] != "active":
                raise NotActive(hub_id)
            linked = {}
            for name in _LINKED:
                if isinstance(image.get(name), str) and image[name]:
                    linked[name] = await self._copy(site, image[name])
            try:
                site_id = await self._copier.replica(site, image, linked)
            except CascadeError as e:
                if await self._copier.show(HUB, hub_id) is not None:
                    raise
                await self._copier.forget(site, hub_id)
                raise NotActive(hub_id) from e
            if pair is not None:
                await self._store.pairs.drop("image", hub_id, site)
            await self._store.pairs.put(Pair(kind="image", hub_id=hub_id, site=site, site_id=site_id, project_id=None))
            self.queue.add((hub_id, site))  # what was said of it while its bits travelled found no replica
        return site_id

    async def _share(self, site: str, site_id: str, project_id: str | None, image: Doc) -> None:
        """The shadow of a project may use the replica."""
        if project_id is None:
            return
        project = await self._south.shadow.project(site, project_id)
        key = (site, site_id, project)
        if self._clock() - self._shared.get(key, -BELIEVED) < BELIEVED:
            return
        reply = await self._add_member(site, site_id, project)
        if not reply.ok and reply.status != 409:  # 409: is one already
            await self._open(site, site_id, project, image, full=reply.status == 413)
        self._shared[key] = self._clock()

    async def _add_member(self, site: str, site_id: str, project: str) -> Reply:
        return await self._south.call(site, "image", "POST", f"/v2/images/{site_id}/members", json={"member": project})

    async def _open(self, site: str, site_id: str, project: str, image: Doc, *, full: bool) -> None:
        """Where Glance takes no member: the image was born private here, or has as many as ``image_member_quota`` (128) lets.

        A full one may be used by whoever knows its id, if the hub shows it to everybody anyway. Raises NativeFault.
        """
        there = await self._copier.show(site, site_id)
        if there is None or there["owner"] == project or (there["visibility"] == "community" and image["visibility"] in _OPEN):
            return
        if full and image["visibility"] in _OPEN:
            await self._copier.patch(site, site_id, [{"op": "replace", "path": "/visibility", "value": "community"}])
            return
        if there["visibility"] != "shared":
            await self._copier.patch(site, site_id, [{"op": "replace", "path": "/visibility", "value": "shared"}])
        (await self._add_member(site, site_id, project)).expect(200, 409)

    def _forget(self, hub_id: str, site: str) -> None:
        self._seen.pop((hub_id, site), None)
        self._shared = {k: v for k, v in self._shared.items() if k[0] != site}
