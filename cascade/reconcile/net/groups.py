"""Security groups and address groups in sites.

Two groups may name each other: every group needed is made empty first, rules come second (design review 7.4).
The group ``default`` exists in every project by itself: it is paired, and only its rules are reconciled (R2.8).
A rule with a remote group has a companion for that group's members in other sites (``members``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from cascade.model.errors import BadReply
from cascade.reconcile.net.members import Members
from cascade.reconcile.net.replica import (
    ADDRESS_GROUP,
    COMPANION,
    GROUP,
    RULE,
    STAMP,
    Doc,
    Gone,
    Refused,
    Replicas,
    accepted,
    changes,
    stamped,
)

log = structlog.get_logger(__name__)

_SHAPE = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix")
_REMOTES = ("remote_group_id", "remote_address_group_id")
BY_ADDRESSES = "security-groups-remote-address-group"
"""The extension a site needs for companions."""


class Groups:
    """What admits packets to a port. ``ensure`` is all a boot needs; ``sync`` follows a change at the hub."""

    def __init__(self, replicas: Replicas, extensions: Callable[[str], Awaitable[frozenset[str]]]) -> None:
        """``extensions``: the Neutron extensions of a site."""
        self._r, self._extensions = replicas, extensions
        self.members = Members(replicas)
        self._done: dict[tuple[str, str], int] = {}
        """(site, hub group) -> the hub's revision whose rules we know to be there: rules change it. Lost = done again."""

    async def ensure(self, site: str, ids: Iterable[str]) -> dict[str, str]:
        """hub group -> site group, all with the hub's rules in force."""
        groups = await self._r.hub_by_ids(GROUP, ids)
        made = await self._empty(site, groups.values())
        late = [g for g in groups.values() if self._done.get((site, g["id"])) != g["revision_number"]]
        if late:
            await self._rules(site, late, made)
        return made

    async def sync(self, site: str, group: Doc, site_id: str) -> bool:
        """Name and rules as the hub has them now; False where the copy is gone."""
        row = await self._r.show(site, GROUP, site_id)
        if row is None:
            return False
        want = {"stateful": group["stateful"]} if "stateful" in row and "stateful" in group else {}
        if row["name"] != "default" and group["name"] != "default":
            want["name"] = group["name"]
        await self._r.update(site, GROUP, row, want)
        await self._rules(site, [group], {group["id"]: site_id})
        return True

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """The hub's group is gone. A site's default group stays: it goes with its project."""
        self._done.pop((site, hub_id), None)
        await self.members.drop(site, hub_id)
        row = await self._r.show(site, GROUP, site_id)
        if row is not None and row["name"] == "default":
            await self._r.store.pairs.drop(GROUP.name, hub_id, site)
        else:
            await self._r.delete(site, GROUP, hub_id, site_id)

    async def sync_addresses(self, site: str, group: Doc, site_id: str) -> bool:
        """An address group's name and members; False where the copy is gone."""
        row = await self._r.show(site, ADDRESS_GROUP, site_id)
        if row is None:
            return False
        await self._r.update(site, ADDRESS_GROUP, row, {"name": group["name"]})
        want, have = set(group["addresses"]), set(row["addresses"])
        for verb, addresses in (("add_addresses", want - have), ("remove_addresses", have - want)):
            if addresses:
                reply = await self._r.call(site, "PUT", f"{ADDRESS_GROUP.path}/{site_id}/{verb}", {"addresses": sorted(addresses)})
                accepted(site, "address_group", reply)
        return True

    # -- groups, empty -----------------------------------------------------------------------------------------------

    async def _empty(self, site: str, groups: Iterable[Doc]) -> dict[str, str]:
        rows = list(groups)
        made = await asyncio.gather(*(self._one(site, g) for g in rows))
        return dict(zip((g["id"] for g in rows), made, strict=True))

    async def _one(self, site: str, group: Doc) -> str:
        known = await self._r.site_id(site, GROUP, group["id"])
        if known is not None:
            return known
        project = await self._r.south.shadow.project(site, group["project_id"])
        if group["name"] == "default":
            return await self._default(site, group, project)

        async def make() -> Doc:
            return {"name": group["name"]} | ({"stateful": False} if group.get("stateful") is False else {})

        made, _ = await self._r.ensure(site, GROUP, group["id"], owner=group["project_id"], project=project, make=make)
        return made

    async def _default(self, site: str, group: Doc, project: str) -> str:
        """Listing a project's groups is what makes its default one."""
        rows = await self._r.site_list(site, GROUP, ("project_id", project), ("name", "default"))
        row = next((r for r in rows if r["project_id"] == project), None)
        if row is None:
            raise BadReply(site, f"project {project} has no default security group")
        await self._r.update(site, GROUP, row, {"description": STAMP + group["id"]})
        await self._r.pair(site, GROUP, group["id"], row["id"], group["project_id"])
        self._r.made(GROUP, group["id"])
        return str(row["id"])

    async def _addresses(self, site: str, ids: set[str]) -> dict[str, str]:
        out = {}
        for hub_id, group in (await self._r.hub_by_ids(ADDRESS_GROUP, ids)).items() if ids else ():
            project = await self._r.south.shadow.project(site, group["project_id"])

            async def make(group: Doc = group) -> Doc:
                return {"name": group["name"], "addresses": group["addresses"]}

            owner = group["project_id"]
            out[hub_id], _ = await self._r.ensure(site, ADDRESS_GROUP, hub_id, owner=owner, project=project, make=make)
        return out

    # -- rules -------------------------------------------------------------------------------------------------------

    async def _rules(self, site: str, groups: list[Doc], made: Mapping[str, str]) -> None:
        """Rules of these groups; the groups they name are made first, without their rules."""
        rules = [r for g in groups for r in g["security_group_rules"]]
        named = {r["remote_group_id"] for r in rules if r.get("remote_group_id")}
        known = {g["id"]: g for g in groups if g["id"] in named}
        remote = known | await self._r.hub_by_ids(GROUP, named - known.keys())
        others = await self._empty(site, (g for i, g in remote.items() if i not in made))
        addresses = await self._addresses(site, {r["remote_address_group_id"] for r in rules if r.get("remote_address_group_id")})
        there = {**made, **others, **addresses}
        elsewhere = await self._elsewhere(site, remote)
        for group in groups:
            async with self._r.alone(site, "rules", group["id"], lease=False):
                try:
                    await self._reconcile(site, group, made[group["id"]], there, elsewhere)
                except Refused as e:
                    if e.reply.status == 404:
                        await self.members.forget_gone(site, elsewhere)
                    raise
            self._done[site, group["id"]] = group["revision_number"]

    async def _elsewhere(self, site: str, remote: Mapping[str, Doc]) -> dict[str, str]:
        """hub group -> the site's address group of its members in other sites; empty where the site cannot have them."""
        if remote and BY_ADDRESSES not in await self._extensions(site):
            log.warning("members in other sites are not admitted here", site=site, groups=sorted(remote), missing=BY_ADDRESSES)
            return {}
        return await self.members.ensure(site, remote)

    async def _reconcile(self, site: str, group: Doc, site_id: str, there: Mapping[str, str], elsewhere: Mapping[str, str]) -> None:
        """A rule never changes, so it is there or it is not: known by its stamp, else by its meaning."""
        row = await self._r.show(site, GROUP, site_id)
        if row is None:
            await self._r.store.pairs.drop(GROUP.name, group["id"], site)
            raise Gone(f"security group {site_id} is not at {site} any more")
        have = {r["id"]: r for r in row["security_group_rules"]}
        missing = []
        for stamp, want in wanted(group, there, elsewhere).items():
            found = next((i for i, r in have.items() if stamped(r) == stamp), None)
            found = found or next((i for i, r in have.items() if not changes(r, want)), None)
            if found is not None:
                del have[found]
            else:
                whose = {"security_group_id": site_id, "project_id": row["project_id"], "description": STAMP + stamp}
                missing.append({k: v for k, v in want.items() if v is not None} | whose)
        await asyncio.gather(
            *(self._make_rule(site, m) for m in missing),
            *(self._r.call(site, "DELETE", f"{RULE.path}/{i}") for i in have),
        )
        await self.members.unused(site, (a for r in have.values() if (a := r.get("remote_address_group_id"))))

    async def _make_rule(self, site: str, rule: Doc) -> None:
        reply = await self._r.call(site, "POST", RULE.path, {RULE.key: rule})
        if reply.status == 409 and b"OverQuota" in reply.body:
            await self._r.create(site, RULE, rule)
        elif not (reply.status == 409 and b"SecurityGroupRuleExists" in reply.body):
            accepted(site, "security_group_rule", reply)


def wanted(group: Doc, there: Mapping[str, str], elsewhere: Mapping[str, str]) -> dict[str, Doc]:
    """Stamp -> a rule in the site's ids, exactly what decides about packets; of a remote group two (``members``).

    ``there``: hub group or address group -> the site's. A rule that names one which is going is left out.
    """
    out: dict[str, Doc] = {}
    for rule in group["security_group_rules"]:
        named = {k: rule.get(k) for k in _REMOTES}
        if any(v is not None and v not in there for v in named.values()):
            continue
        shape: Doc = {k: rule.get(k) for k in _SHAPE}
        out[rule["id"]] = shape | {k: v and there[v] for k, v in named.items()}
        if named["remote_group_id"] in elsewhere:
            addresses = elsewhere[named["remote_group_id"]]
            out[rule["id"] + COMPANION] = shape | {"remote_group_id": None, "remote_address_group_id": addresses}
    return out
