"""A shadow project or user whose hub project or user was deleted leaves the sites, when nothing of theirs is left there.

Keystone tells nobody of a delete, and it may be done past us: so the pairs are gone through in rounds, some at a time.
Only the hub's own 404 is a delete, and only empty lists of the site are "nothing left": any other answer keeps the shadow.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import structlog

from cascade.model.errors import CascadeError
from cascade.model.site import HUB
from cascade.reconcile.net.replica import ADDRESS_GROUP, GROUP, stamped
from cascade.reconcile.pages import segment
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

EVERY = 1800.0
"""Seconds between rounds."""
BOUND = 200
"""Hub projects and users asked for in a round; the next round goes on behind them."""
KEYPAIRS = "2.10"
"""Nova's first microversion in which an administrator sees another user's key pairs."""


@dataclass(frozen=True, slots=True)
class Held:
    """One list that must be empty. ``whose``: the filter that takes the site's id."""

    service: str
    path: str
    whose: str

    @property
    def key(self) -> str:
        """The JSON key of the list."""
        return self.path.rsplit("/", 1)[-1].replace("-", "_")


_HELD = {
    "project": (
        Held("compute", "/servers", "project_id"),
        *(Held("volume", f"/{p}", "project_id") for p in ("volumes", "snapshots", "backups", "groups", "group_snapshots")),
        Held("image", "/v2/images", "owner"),
        *(Held("network", f"/v2.0/{p}", "project_id") for p in ("ports", "floatingips", "routers", "networks", "qos/policies")),
    ),
    "user": (Held("compute", "/servers", "user_id"), Held("volume", "/volumes", "user_id")),
}  # fmt: skip


class Shadows:
    """``run`` works until cancelled. Several gateways may do the same: every step may be repeated."""

    def __init__(self, store: Store, south: South, sites: Sites) -> None:
        self._store, self._south, self._sites = store, south, sites
        self._behind: tuple[str, str] = ("", "")
        """(kind, hub id) the last round ended with."""

    async def run(self) -> None:
        """A round every half an hour."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.round()
            except CascadeError as e:
                log.warning("shadows are looked at in the next round", error=str(e))

    async def round(self, bound: int = BOUND) -> None:
        """Look at the next ``bound`` hub projects and users. Raises SiteError where the hub does not answer."""
        pairs = [p for kind in _HELD for p in await self._store.pairs.all(kind)]
        known = [(k, list(g)) for k, g in groupby(sorted(pairs, key=_hub_key), _hub_key)]
        late = [item for item in known if item[0] > self._behind][:bound]
        for (kind, hub_id), copies in late:
            reply = await self._south.call(HUB, "identity", "GET", f"/v3/{kind}s/{segment(hub_id)}")
            if reply.status == 404:
                for pair in copies:
                    await self._leave(pair)
        self._behind = late[-1][0] if len(late) == bound else ("", "")

    async def _leave(self, pair: Pair) -> None:
        """One shadow goes, if it can; a site that does not answer is asked again in a later round."""
        if pair.site not in self._sites.names() or self._sites.get(pair.site).identity == "shared":
            return
        try:
            left = [h.path for h in _HELD[pair.kind] if not await self._empty(pair, h)]
            if left:
                log.info("a shadow stays, for things of its own", site=pair.site, kind=pair.kind, id=pair.hub_id, left=left)
                return
            await (self._groups(pair) if pair.kind == "project" else self._keypairs(pair))
            await self._delete(pair.site, "identity", f"/v3/{pair.kind}s/{pair.site_id}")
        except CascadeError as e:
            log.warning("a shadow stays for now", site=pair.site, kind=pair.kind, id=pair.hub_id, error=str(e))
            return
        await self._store.roles.forget(pair.site, **{f"{pair.kind}_id": pair.hub_id})
        await self._store.pairs.drop(pair.kind, pair.hub_id, pair.site)
        log.info("a shadow is removed", site=pair.site, kind=pair.kind, id=pair.hub_id)

    async def _empty(self, pair: Pair, held: Held) -> bool:
        params = [(held.whose, pair.site_id), ("limit", "1")]
        if held.service in ("compute", "volume"):
            params.append(("all_tenants", "1"))
        version = "3.60" if held.service == "volume" else None
        reply = await self._south.call(pair.site, held.service, "GET", held.path, params=params, version=version)
        if reply.status == 404 and held.service == "network":  # it has no list of what it has no extension for
            return True
        return bool(reply.expect(200).json()[held.key] == [])

    async def _groups(self, pair: Pair) -> None:
        """Copies of the project's security groups, its default group at the site, and their address groups."""
        for kind in (GROUP, ADDRESS_GROUP):
            reply = await self._south.call(pair.site, "network", "GET", kind.path, params=[("project_id", pair.site_id)])
            for row in reply.json()[kind.plural] if reply.ok else ():
                if row["project_id"] != pair.site_id:  # whatever a site makes of the filter
                    continue
                await self._delete(pair.site, "network", f"{kind.path}/{row['id']}")
                if stamped(row) is not None and (copy := await self._store.pairs.by_site_id(pair.site, row["id"])):
                    await self._store.pairs.drop(copy.kind, copy.hub_id, pair.site)

    async def _keypairs(self, pair: Pair) -> None:
        """Copies of the user's key pairs; nobody else can have one."""
        whose = [("user_id", pair.site_id)]
        reply = await self._south.call(pair.site, "compute", "GET", "/os-keypairs", params=whose, version=KEYPAIRS)
        for row in reply.expect(200).json()["keypairs"]:
            path = f"/os-keypairs/{segment(row['keypair']['name'])}"
            await self._delete(pair.site, "compute", path, params=whose, version=KEYPAIRS)

    async def _delete(self, site: str, service: str, path: str, **more: Any) -> None:
        reply = await self._south.call(site, service, "DELETE", path, **more)
        if reply.status != 404:
            reply.expect(202, 204)


def _hub_key(pair: Pair) -> tuple[str, str]:
    return pair.kind, pair.hub_id
