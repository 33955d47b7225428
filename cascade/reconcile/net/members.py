"""The members that a rule's remote group has in other sites.

At a site a rule with a remote group admits the members that stand there, and Neutron there cannot know of others. So each
remote group has an address group of ours in every site with a rule that names it: the addresses of members whose ports
stand in other sites. Beside each such rule is a companion that admits it (``Groups``). Together they admit whom one
Neutron would have admitted. Both are the site's alone: north they are never seen.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection, Iterable, Mapping

import structlog

from cascade.model.site import HUB
from cascade.reconcile.net.replica import (
    COMPANION,
    MEMBERS,
    PORT,
    RULE,
    Doc,
    Gone,
    Replicas,
    accepted,
)
from cascade.reconcile.pages import everything

log = structlog.get_logger(__name__)

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
_FIELDS = ("id", "fixed_ips", "allowed_address_pairs")


class Members:
    """One address group per (remote group, site). What it holds is worked out anew from the hub's ports and the pairs."""

    def __init__(self, replicas: Replicas) -> None:
        self._r = replicas

    async def ensure(self, site: str, groups: Mapping[str, Doc]) -> dict[str, str]:
        """hub group -> the site's address group of its members elsewhere, for these remote groups (hub id -> document)."""
        made = await asyncio.gather(*(self._one(site, g) for g in groups.values()))
        return dict(zip(groups, made, strict=True))

    async def sync(self, site: str, hub_id: str, site_id: str) -> bool:
        """Exactly the members elsewhere as they are now; False where the address group is gone. Two calls at most change it."""
        # What is to be written is read under the lease: of two that look at once the later look must not lose.
        async with self._r.alone(site, "members", hub_id):
            row = await self._r.show(site, MEMBERS, site_id)
            if row is None:
                return False
            want, have = await self._elsewhere(site, hub_id.removesuffix(COMPANION)), set(map(_prefix, row["addresses"]))
            for verb, found in (("add_addresses", want - have), ("remove_addresses", have - want)):
                if found:
                    path = f"{MEMBERS.path}/{site_id}/{verb}"
                    accepted(site, MEMBERS.name, await self._r.call(site, "PUT", path, {"addresses": sorted(map(str, found))}))
            return True

    async def concerned(self, groups: Iterable[str], here: Collection[str]) -> list[str]:
        """Whose address groups a port in the sites ``here`` may be in, or leave: those of its groups that other sites have."""
        copies = await self._r.store.pairs.copies(MEMBERS.name, [g + COMPANION for g in groups])
        return sorted({p.hub_id for p in copies if p.site not in here})

    async def unused(self, site: str, ids: Iterable[str]) -> None:
        """Companions that used these address groups (the site's ids) are gone: they go too, where no other rule has them."""
        for ident in set(ids):
            pair = await self._r.store.pairs.by_site_id(site, ident)
            if pair is None or pair.kind != MEMBERS.name:
                continue
            reply = await self._r.call(site, "DELETE", f"{MEMBERS.path}/{ident}")
            if reply.status != 409:
                accepted(site, MEMBERS.name, reply, 404)
                await self._r.store.pairs.drop(MEMBERS.name, pair.hub_id, site)

    async def drop(self, site: str, group: str) -> None:
        """The hub's group is gone, and with it every rule that named it: the companions at the site follow, then the addresses."""
        site_id = await self._r.site_id(site, MEMBERS, group + COMPANION)
        if site_id is None:
            return
        for rule in await self._r.site_list(site, RULE, ("remote_address_group_id", site_id)):
            accepted(site, RULE.name, await self._r.call(site, "DELETE", f"{RULE.path}/{rule['id']}"), 404)
        await self._r.delete(site, MEMBERS, group + COMPANION, site_id)

    async def forget_gone(self, site: str, groups: Iterable[str]) -> None:
        """The site said 404 to a companion: drop the pairs of address groups that are not there. Raises Gone if any was."""
        gone = []
        for group in groups:
            site_id = await self._r.site_id(site, MEMBERS, group + COMPANION)
            if site_id is not None and await self._r.show(site, MEMBERS, site_id) is None:
                await self._r.store.pairs.drop(MEMBERS.name, group + COMPANION, site)
                gone.append(site_id)
        if gone:
            raise Gone(f"address groups {gone} are not at {site} any more")

    async def _one(self, site: str, group: Doc) -> str:
        project = await self._r.south.shadow.project(site, group["project_id"])

        async def make() -> Doc:
            return {"name": "", "addresses": sorted(map(str, await self._elsewhere(site, group["id"])))}

        hub_id = group["id"] + COMPANION
        made, _ = await self._r.ensure(site, MEMBERS, hub_id, owner=group["project_id"], project=project, make=make)
        return made

    async def _elsewhere(self, site: str, group: str) -> set[Prefix]:
        """Where the group's members that stand in other sites send from."""
        params = [("security_groups", group), *(("fields", f) for f in _FIELDS)]
        ports = await everything(self._r.south, HUB, "network", PORT.path, PORT.plural, params=params)
        where: dict[str, set[str]] = {}
        for pair in await self._r.store.pairs.copies(PORT.name, [p["id"] for p in ports]):
            where.setdefault(pair.hub_id, set()).add(pair.site)
        return {a for p in ports if p["id"] in where and site not in where[p["id"]] for a in addresses(p)}


def addresses(port: Mapping[str, object]) -> set[Prefix]:
    """What a port may send from, as a remote group means it: its addresses and allowed pairs.

    Pairs that allow every address are left out: one port's owner would open every rule that names his group to the world.
    """
    rows: list[Doc] = [*(port.get("fixed_ips") or ()), *(port.get("allowed_address_pairs") or ())]  # type: ignore[misc]
    return {p for r in rows if (p := _prefix(r["ip_address"])).prefixlen}


def _prefix(text: str) -> Prefix:
    return ipaddress.ip_network(text, strict=False)
