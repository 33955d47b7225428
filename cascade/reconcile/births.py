"""Images born at a site: snapshots of servers, uploads of volumes (design review 6.2).

The hub has a record of the same id at once, ``queued``; when the site's image is active its bits are carried north and
the record turns ``active``. From then on it is a hub image whose first replica happens to be older than itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from cascade.model.caller import Caller
from cascade.model.crash import point
from cascade.model.errors import BadReply, Conflict, Terminal
from cascade.model.site import HUB
from cascade.reconcile import imagedoc
from cascade.reconcile.imagecopy import Copier, Doc
from cascade.routing import translate
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.intents import Intent
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

LEASE = 60.0
MISSES = 3
"""Looks in a row that must not find the site's image before it is taken as failed (Nova deletes what it cannot finish)."""


class Births:
    """One intent per birth, from the site's answer until the bits are at the hub."""

    def __init__(self, store: Store, south: South, copier: Copier, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._south, self._copier, self._clock = store, south, copier, clock
        self._misses: dict[str, int] = {}

    async def begin(self, site: str, site_id: str, caller: Caller, request_id: str) -> tuple[str, str]:
        """(intent, hub id). The record is made as the caller: the hub's policy and image quota are his."""
        intent = await self._store.intents.open(
            "image.born", site=site, project_id=caller.project_id or "", user_id=caller.user_id, resource_id=site_id,
            request_id=request_id, body={"site_id": site_id},
        )  # fmt: skip
        point("image.born:intent")
        there = await self._copier.show(site, site_id)
        if there is None:
            await self._store.intents.close(intent.id)
            raise BadReply(site, f"image {site_id} was announced and is not there")
        hub_id = await self._record(intent, there, caller)
        return intent.id, hub_id

    async def _record(self, intent: Intent, there: Doc, caller: Caller | None) -> str:
        """The hub's record; without a caller (a crash came between) the service account makes it for the owner."""
        body = imagedoc.north(there, await self._northern(intent.site, there))
        if caller is None:
            body["owner"] = intent.project_id
        else:
            names = zip(imagedoc.NAMES, (caller.project_name, caller.user_name), strict=True)
            body |= {key: name for key, name in names if key in there and name}
        reply = await self._south.call(HUB, "image", "POST", "/v2/images", as_=caller, json={**body, "id": there["id"]})
        if reply.status == 409:
            mine = await self._copier.show(HUB, there["id"])
            if mine is not None and mine["owner"] == intent.project_id and mine["status"] == "queued":
                hub_id = str(mine["id"])  # made before a crash
            else:  # the id was used at the hub before; deleted ones count for ever
                hub_id = str(
                    (await self._south.call(HUB, "image", "POST", "/v2/images", as_=caller, json=body)).expect(201).json()["id"]
                )
        else:
            hub_id = str(reply.expect(201).json()["id"])
        point("image.born:recorded")
        await self._store.pairs.put(
            Pair(kind="image", hub_id=hub_id, site=intent.site, site_id=there["id"], project_id=intent.project_id or None)
        )
        await self._store.intents.update(intent.id, state="recorded", resource_id=hub_id)
        return hub_id

    async def step(self, intent_id: str) -> float | None:
        """Look once; returns when to look again, None when the birth is over. Safe to repeat at any point."""
        try:
            intent = await self._store.intents.get(intent_id)
        except Conflict:  # closed: by another gateway, or before we came
            return None
        site_id = intent.body["site_id"]
        there = await self._copier.show(intent.site, site_id)
        if there is None or there["status"] == "killed":
            return await self._lost(intent)
        self._misses.pop(intent_id, None)
        if intent.state != "recorded":
            if self._clock() - intent.created < 5:
                return 1.0  # its own request is still at it
            await self._record(intent, there, None)
            return 0.0
        hub_id = intent.resource_id or site_id
        image = await self._copier.show(HUB, hub_id)
        if image is None:
            return await self._deleted(intent, hub_id, site_id)
        self._misses.pop(f"{intent_id}/hub", None)
        if there["status"] in ("active", "deactivated"):
            return await self._carry(intent, there, image)
        return min(10.0, max(0.5, (self._clock() - intent.created) / 10))

    async def _carry(self, intent: Intent, there: Doc, image: Doc) -> float | None:
        # The tag is what a rebuild finds the pair by. Not before the site's is whole: Glance saves an image with all it had
        # when it was read, its status too, and an upload that finds another status than its own throws the image away.
        if imagedoc.stamped(there) != image["id"]:
            tags = sorted({*(there.get("tags") or ()), imagedoc.stamp(image["id"])})
            await self._copier.patch(intent.site, there["id"], [{"op": "replace", "path": "/tags", "value": tags}])
        async with self._store.leases.single_flight(f"born/{image['id']}", self._store.owner, LEASE, LEASE * 60):
            image = await self._copier.show(HUB, image["id"]) or image
            if image["status"] == "queued":
                body = imagedoc.north(there, await self._northern(intent.site, there))
                changes = [o for o in imagedoc.patch(body, image) if o["op"] != "remove" and o["path"] != "/name"]
                if changes:  # disk format, min_disk and the like are known only now
                    await self._copier.patch(HUB, image["id"], changes)
                await self._copier.bits(intent.site, there, HUB, image["id"])
                image = await self._copier.show(HUB, image["id"]) or image
            if image["status"] not in ("active", "deactivated"):
                return 5.0  # an upload that broke with its gateway: Glance sets it back to queued
            if imagedoc.same_bits(there, image) is False:
                raise Terminal(f"image {image['id']}: the hub's bits are not those of {intent.site}")
            await self._store.intents.close(intent.id)
            log.info("image born", image=image["id"], site=intent.site)
        return None

    async def _lost(self, intent: Intent) -> float | None:
        """The site has no such image (any more): so it failed there, and the hub's record goes with it."""
        misses = self._misses[intent.id] = self._misses.get(intent.id, 0) + 1
        if misses < MISSES:
            return 1.0
        del self._misses[intent.id]
        hub_id = intent.resource_id or intent.body["site_id"]
        image = await self._copier.show(HUB, hub_id)
        if image is not None and image["status"] in ("queued", "saving") and image["owner"] == intent.project_id:
            await self._copier.delete(HUB, hub_id)
        await self._store.pairs.drop("image", hub_id, intent.site)
        await self._store.intents.close(intent.id)
        log.warning("image was never finished", site=intent.site, image=hub_id)
        return None

    async def _deleted(self, intent: Intent, hub_id: str, site_id: str) -> float | None:
        """Deleted north before it was whole: the site's goes too, now, whatever still writes into it."""
        key = f"{intent.id}/hub"
        misses = self._misses[key] = self._misses.get(key, 0) + 1
        if misses < 2:
            return 1.0
        del self._misses[key]
        await self._copier.delete(intent.site, site_id)
        await self._store.pairs.drop("image", hub_id, intent.site)
        await self._store.intents.close(intent.id)
        return None

    async def _northern(self, site: str, there: Doc) -> dict[str, str]:
        """site id -> hub id for what the image's properties name."""
        ids = translate.tokens(imagedoc.properties(there, local=True), opaque=())
        pairs = await self._store.pairs.to_hub(site, ids) if ids else {}
        return {k: p.hub_id for k, p in pairs.items() if p.hub_id != k}
