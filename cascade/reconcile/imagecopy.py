"""Moving bits: hub to site and site to hub, through us, a chunk at a time; and the replica of a hub image at a site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog

from cascade.model.crash import point
from cascade.model.errors import BadReply
from cascade.model.site import HUB
from cascade.reconcile import imagedoc
from cascade.reconcile.pages import everything, segment
from cascade.routing import translate
from cascade.sites.south import South
from cascade.store import Store

log = structlog.get_logger(__name__)

Doc = dict[str, Any]
_PATIENCE = 15
"""Looks, two seconds apart, at a ``saving`` replica whose uploader is gone: Glance sets it back to ``queued``."""


class Copier:
    """All calls by the service accounts. Callers see to it that one copy runs at a time per image and site."""

    def __init__(self, store: Store, south: South) -> None:
        self._store, self._south = store, south

    async def show(self, target: str, image_id: str) -> Doc | None:
        """The image as the service account sees it; None where it is not there (Glance shows administrators deleted ones)."""
        reply = await self._south.call(target, "image", "GET", f"/v2/images/{segment(image_id)}")
        if reply.status == 404:
            return None
        image: Doc = reply.expect(200).json()
        return None if image["status"] in ("deleted", "pending_delete") else image

    async def mapping(self, site: str, image: Doc) -> dict[str, str]:
        """hub id -> site id for the ids an image's properties name (snapshots in ``block_device_mapping``...)."""
        ids = translate.tokens(imagedoc.properties(image, local=True), opaque=())
        pairs = await self._store.pairs.to_site(site, ids) if ids else {}
        return {k: p.site_id for k, p in pairs.items() if p.site_id != k}

    async def replica(self, site: str, image: Doc, linked: dict[str, str]) -> str:
        """The site's id of an active image with the hub image's bits, made or completed now.

        ``linked``: ``kernel_id``/``ramdisk_id`` at the site. A record of ours that is there already is completed,
        not deleted: a deleted id can never be used again (design review 6.1).
        """
        for found in await self._stamped(site, image["id"]):
            if (done := await self._complete(site, image, found)) is not None:
                return done
        body = {**imagedoc.south(image, await self.mapping(site, image)), **linked}
        reply = await self._south.call(site, "image", "POST", "/v2/images", json={**body, "id": image["id"]})
        if reply.status == 409:  # the id was used there before, by whomever: the site picks another
            reply = await self._south.call(site, "image", "POST", "/v2/images", json=body)
        made = reply.expect(201).json()
        point("image.copy:created")
        done = await self._complete(site, image, made)
        if done is None:
            raise BadReply(site, f"image {image['id']}: the copy could not be completed")
        return done

    async def _stamped(self, site: str, hub_id: str) -> list[Doc]:
        params = [("tag", imagedoc.stamp(hub_id)), ("visibility", "all")]
        rows = await everything(self._south, site, "image", "/v2/images", "images", params=params)
        ours = await self._south.project_id(site, None)
        rank = {"active": 0, "deactivated": 1, "queued": 2}
        return sorted((r for r in rows if r.get("owner") == ours), key=lambda r: rank.get(r["status"], 9))

    async def _complete(self, site: str, image: Doc, found: Doc) -> str | None:
        """Bring one stamped record to active with the right bits; None if it is beyond help (and then deleted)."""
        ident: str = found["id"]
        for _ in range(_PATIENCE):
            if found["status"] != "saving":
                break
            await asyncio.sleep(2)
            found = await self.show(site, ident) or {"status": "deleted"}
        if found["status"] == "queued":
            await self.bits(HUB, image, site, ident)
            found = await self.show(site, ident) or {"status": "deleted"}
        if found["status"] in ("active", "deactivated") and imagedoc.same_bits(image, found) is not False:
            return ident
        if found["status"] != "deleted":
            log.warning("replica given up", site=site, image=image["id"], replica=ident, status=found["status"])
            await self.delete(site, ident)
        return None

    async def forget(self, site: str, hub_id: str) -> None:
        """Nothing half made is left of an image that is gone from the hub."""
        for found in await self._stamped(site, hub_id):
            await self.delete(site, found["id"])

    async def bits(self, source: str, image: Doc, target: str, target_id: str) -> None:
        """Stream one image's data into a ``queued`` record and check what arrived. Raises SiteError.

        On a broken stream the record is ``queued`` again and can be filled anew. Bits that arrived wrong make the
        record worthless: the caller finds it active with a hash that differs.
        """
        digest = imagedoc.Digest(image)
        path = f"/v2/images/{segment(image['id'])}/file"
        log.info("image copy begins", image=image["id"], source=source, target=target, size=image.get("size"))
        async with self._south.stream(source, "image", "GET", path, headers={"accept": "*/*"}) as get:
            if get.status not in (200, 204):
                raise BadReply(source, f"data of image {image['id']}: {get.status}")
            chunks = digest.through(get.chunks()) if get.status == 200 else _nothing()
            headers = {"content-type": "application/octet-stream"}
            if image.get("size"):  # lets the receiver notice a body that ends too early
                headers["content-length"] = str(image["size"])
            path = f"/v2/images/{segment(target_id)}/file"
            async with self._south.stream(target, "image", "PUT", path, headers=headers, data=chunks) as put:
                if put.status != 204:
                    words = (await put.read(2000)).decode(errors="replace")
                    raise BadReply(target, f"upload of image {target_id}: {put.status} {words}")
        point("image.copy:streamed")
        there = await self.show(target, target_id)
        problem = digest.complaint(image) or (digest.complaint(there) if there else "it is gone")
        if problem:
            raise BadReply(target, f"image {target_id} after the copy: {problem}")
        log.info("image copy done", image=image["id"], target=target, size=digest.size)

    async def delete(self, target: str, image_id: str) -> None:
        """Gone afterwards, whoever did it: administrators get 400 for an image that was deleted before."""
        path = f"/v2/images/{segment(image_id)}"
        reply = await self._south.call(target, "image", "DELETE", path)
        if reply.status == 403:  # protected, by whatever made it there
            await self.patch(target, image_id, [{"op": "replace", "path": "/protected", "value": False}])
            reply = await self._south.call(target, "image", "DELETE", path)
        if reply.status not in (204, 404) and await self.show(target, image_id) is not None:
            reply.expect(204)

    async def patch(self, target: str, image_id: str, operations: list[Doc]) -> None:
        """Change a record. Raises NativeFault, BadReply."""
        headers = {"content-type": "application/openstack-images-v2.1-json-patch"}
        path, body = f"/v2/images/{segment(image_id)}", msgspec.json.encode(operations)
        (await self._south.call(target, "image", "PATCH", path, body=body, headers=headers)).expect(200)


async def _nothing() -> AsyncIterator[bytes]:
    """No data: a boot-from-volume snapshot is an image of properties only."""
    return
    yield b""
