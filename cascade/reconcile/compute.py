"""Nova's hub-owned kinds at sites: flavors, key pairs, server groups."""

from __future__ import annotations

from typing import Any

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import SiteError
from cascade.model.site import HUB
from cascade.reconcile.flavors import Flavors
from cascade.reconcile.pages import everything, segment
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

GROUP_VERSION = "2.64"
"""One policy with rules; every release a site may run knows it."""
LEASE, PATIENCE = 30.0, 20.0
"""Seconds a maker of a server group may take, and the seconds others wait for it."""
Doc = dict[str, Any]


class Compute:
    """What a boot needs of Nova at its site; each call leaves the site as the hub says, or raises why not.

    A NativeFault with target ``hub`` means: the hub does not give this to the caller.
    """

    def __init__(self, store: Store, south: South, sites: Sites) -> None:
        self._store, self._south = store, south
        self.flavors = Flavors(store, south, sites)

    async def materialise_flavor(self, site: str, flavor_id: str, caller: Caller) -> str:
        """See ``Flavors.materialise``."""
        return await self.flavors.materialise(site, flavor_id, caller)

    async def sync_flavors(self, site: str) -> list[str]:
        """All flavors at one site; returns conflicts an operator has to settle."""
        return await self.flavors.sync_all(site)

    # -- key pairs: per user, the same name ----------------------------------------------------------------------------

    async def materialise_keypair(self, site: str, name: str, caller: Caller) -> None:
        """The caller's key pair of this name is at the site, with the hub's fingerprint."""
        path = f"/os-keypairs/{segment(name)}"
        reply = await self._south.call(HUB, "compute", "GET", path, as_=caller, version="2.2")
        key = reply.expect(200).json()["keypair"]
        there = await self._south.call(site, "compute", "GET", path, as_=caller, version="2.2")
        if there.status == 200:
            if there.json()["keypair"]["fingerprint"] == key["fingerprint"]:
                return
            (await self._south.call(site, "compute", "DELETE", path, as_=caller, version="2.2")).expect(202, 204, 404)
        else:
            there.expect(404)
        # Names with '.' or '@' came with 2.92; below, every site takes what the hub took.
        version = "2.92" if "." in name or "@" in name else "2.2"
        body = {"keypair": {"name": name, "public_key": key["public_key"], "type": key.get("type", "ssh")}}
        made = await self._south.call(site, "compute", "POST", "/os-keypairs", as_=caller, json=body, version=version)
        made.expect(200, 201, 409)  # 409: a boot beside this one was faster

    async def sync_keypair(self, site: str, user_id: str, name: str) -> None:
        """After a delete at the hub: the site's copy goes too. A changed one is replaced at its next use."""
        reply = await self._south.call(
            HUB, "compute", "GET", f"/os-keypairs/{segment(name)}", params=[("user_id", user_id)], version="2.10"
        )
        user = await self._store.pairs.get("user", user_id, site)
        if reply.status != 404 or user is None:
            return
        path = f"/os-keypairs/{segment(name)}"
        gone = await self._south.call(site, "compute", "DELETE", path, params=[("user_id", user.site_id)], version="2.10")
        gone.expect(202, 204, 404)

    # -- server groups: the site picks the id, so there is a pair ---------------------------------------------------

    async def materialise_server_group(self, site: str, hub_id: str, caller: Caller) -> str:
        """The site's group for the hub's; made as the caller, with the hub's name and policy."""
        reply = await self._south.call(
            HUB, "compute", "GET", f"/os-server-groups/{segment(hub_id)}", as_=caller, version=GROUP_VERSION
        )
        group = reply.expect(200).json()["server_group"] | await self.rules(hub_id)
        pair = await self._store.pairs.get("server_group", hub_id, site)
        if pair is not None:
            return pair.site_id
        async with self._store.leases.single_flight(f"server_group/{hub_id}/{site}", self._store.owner, LEASE, PATIENCE):
            pair = await self._store.pairs.get("server_group", hub_id, site)
            if pair is not None:
                return pair.site_id
            site_id = await self._unpaired(site, group, caller) or await self._make_group(site, group, caller)
            await self._store.pairs.put(
                Pair(kind="server_group", hub_id=hub_id, site=site, site_id=site_id, project_id=caller.project_id)
            )
            return site_id

    async def _unpaired(self, site: str, group: Doc, caller: Caller) -> str | None:
        """A group with the same name, policy and rules that is nobody's replica: left by a crash before its pair was written.

        Two such groups are interchangeable while they are empty, so which one is taken does not matter.
        """
        rows = await everything(
            self._south, site, "compute", "/os-server-groups", "server_groups", version=GROUP_VERSION, as_=caller
        )
        paired = await self._store.pairs.to_hub(site, [r["id"] for r in rows]) if rows else {}
        for row in rows:
            if row["id"] not in paired and not row["members"] and _same_group(row, group):
                found: str = row["id"]
                return found
        return None

    async def _make_group(self, site: str, group: Doc, caller: Caller) -> str:
        body: Doc = {"name": group["name"], "policy": group["policy"]}
        if group.get("rules"):
            body["rules"] = group["rules"]
        reply = await self._south.call(
            site, "compute", "POST", "/os-server-groups", as_=caller, json={"server_group": body}, version=GROUP_VERSION
        )
        made: str = reply.expect(200).json()["server_group"]["id"]
        return made

    async def rules(self, hub_id: str) -> Doc:
        """``{"rules": ...}`` of a group whose rules the hub's Nova cannot hold; empty for all others."""
        return await self._store.docs.get(f"server_group/{hub_id}") or {}

    async def keep_rules(self, hub_id: str, rules: Doc | None) -> None:
        """A Nova without computes takes no rules (it asks their version); they are remembered beside. None: forgotten."""
        if rules is None:
            await self._store.docs.drop(f"server_group/{hub_id}")
        else:
            await self._store.docs.put(f"server_group/{hub_id}", {"rules": rules})

    async def sync_server_group(self, site: str, hub_id: str) -> None:
        """After a delete at the hub the site's group goes."""
        pair = await self._store.pairs.get("server_group", hub_id, site)
        if pair is None:
            return
        reply = await self._south.call(HUB, "compute", "GET", f"/os-server-groups/{segment(hub_id)}", version=GROUP_VERSION)
        if reply.status != 404:
            reply.expect(200)
            return
        gone = await self._south.call(site, "compute", "DELETE", f"/os-server-groups/{segment(pair.site_id)}")
        gone.expect(204, 404)
        await self._store.pairs.drop("server_group", hub_id, site)

    async def group_at(self, hub_id: str) -> dict[str, list[str] | None]:
        """Site -> the members of the group there (its ids); None for a site that does not answer."""
        found: dict[str, list[str] | None] = {}
        for pair in await self._store.pairs.of_hub("server_group", hub_id):
            try:
                found[pair.site] = (await self._group(pair)).get("members", [])
            except SiteError as e:
                log.info("group members not asked", site=pair.site, error=str(e))
                found[pair.site] = None
        return found

    async def group_members(self, hub_id: str) -> list[str]:
        """The servers of a hub's group, as every site that answers shows them, in no order."""
        found: list[str] = []
        for site, members in (await self.group_at(hub_id)).items():
            known = await self._store.pairs.to_hub(site, members or [])
            found += [known[m].hub_id if m in known else m for m in members or []]
        return found

    async def _group(self, pair: Pair) -> Doc:
        """What the site has; empty where it is gone."""
        path = f"/os-server-groups/{segment(pair.site_id)}"
        reply = await self._south.call(pair.site, "compute", "GET", path, version=GROUP_VERSION)
        group: Doc = reply.json()["server_group"] if reply.status == 200 else {}
        return group


def _same_group(row: Doc, group: Doc) -> bool:
    return all(row.get(k) == group.get(k) for k in ("name", "policy")) and (row.get("rules") or {}) == (group.get("rules") or {})
