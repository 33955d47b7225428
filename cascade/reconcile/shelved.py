"""Images of shelved servers. Nova makes one with the shelving and deletes it with the unshelving, or with the server.

So it is born at the site like any snapshot, and when the site's is gone, the hub's goes too. An intent says from the
birth on which image it is, since the server's name, of which the image's is made, may change.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from cascade.model.caller import Caller
from cascade.model.errors import Conflict
from cascade.model.site import HUB
from cascade.reconcile.imagecopy import Copier
from cascade.sites.south import South
from cascade.store import Store

VERB = "image.shelved"
SUFFIX = "-shelved"
PATIENCE = 600.0
"""Seconds the site is watched for the end of an image whose server was unshelved; what is there still, stays."""
_RECENT = "5"


class Shelved:
    """``deleted`` is told the hub's id of an image that is gone."""

    def __init__(
        self, store: Store, south: South, copier: Copier, deleted: Callable[[str], Awaitable[None]], *,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._south, self._copier, self._deleted, self._clock = store, south, copier, deleted, clock
        self._missed: set[str] = set()

    async def find(self, site: str, server: str, caller: Caller) -> str | None:
        """The site's image that a shelving just made; ``server`` is the site's id. None for a server without one (on a volume)."""
        params = [("instance_uuid", server), ("image_type", "snapshot"), ("sort", "created_at:desc"), ("limit", _RECENT)]
        reply = await self._south.call(site, "image", "GET", "/v2/images", as_=caller, params=params)
        made = [i["id"] for i in reply.expect(200).json()["images"] if str(i["name"]).endswith(SUFFIX)]
        known = await self._store.pairs.to_hub(site, made) if made else {}
        return next((i for i in made if i not in known), None)

    async def begin(self, site: str, server: str, image: str, caller: Caller, request_id: str) -> None:
        """Remember that the hub's ``image`` goes with the shelving of ``server`` (both north ids)."""
        await self._store.intents.open(
            VERB, site=site, project_id=caller.project_id or "", user_id=caller.user_id, resource_id=_of(server),
            request_id=request_id, body={"image": image},
        )  # fmt: skip

    async def of(self, server: str) -> list[str]:
        """The intents of a server that is not shelved any more."""
        found = [i.id for i in await self._store.intents.by_resource(_of(server))]
        for ident in found:
            await self._store.intents.update(ident, state="leaving")
        return found

    async def step(self, ident: str) -> float | None:
        """Look once; returns when to look again. One 404 proves nothing: the second does."""
        try:
            intent = await self._store.intents.get(ident)
        except Conflict:  # another process was first
            return None
        image: str = intent.body["image"]
        pair = await self._store.pairs.get("image", image, intent.site)
        if pair is not None and await self._copier.show(intent.site, pair.site_id) is not None:
            self._missed.discard(ident)
            waited = self._clock() - intent.updated
            return None if intent.state != "leaving" or waited > PATIENCE else min(10.0, max(0.3, waited / 10))
        if ident not in self._missed:
            self._missed.add(ident)
            return 0.3
        self._missed.discard(ident)
        await self._copier.delete(HUB, image)
        await self._deleted(image)
        await self._store.intents.close(ident)
        return None


def _of(server: str) -> str:
    """Under which name the intents of a server are kept: not its own, since they outlive it."""
    return f"shelved/{server}"
