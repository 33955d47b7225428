"""One way to make, find, change and remove the copy of a hub's Neutron object in a site.

A copy carries ``cascade:<hub id>`` in its ``description``: written by the create itself, filterable, on every kind
(design review 2.9). Everything here is done by the site's service account for the shadow project, never as a user.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from cascade.model.errors import BadReply, Conflict, Fault
from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.reconcile.pages import everything, segment
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

STAMP = "cascade:"
COMPANION = ".members"
"""Behind the hub id of a security group or rule: what stands in a site beside its copy for members in other sites."""
LEASE, PATIENCE = 15.0, 25.0
"""Seconds after which a dead maker's lease is free (a live one renews it), and the seconds others wait for it."""
Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A pair kind and where Neutron keeps it."""

    name: str
    path: str
    key: str

    @property
    def plural(self) -> str:
        """The JSON key of a list."""
        return self.path.rsplit("/", 1)[-1].replace("-", "_")


NETWORK = Kind("network", "/v2.0/networks", "network")
SUBNET = Kind("subnet", "/v2.0/subnets", "subnet")
PORT = Kind("port", "/v2.0/ports", "port")
ROUTER = Kind("router", "/v2.0/routers", "router")
GROUP = Kind("security_group", "/v2.0/security-groups", "security_group")
RULE = Kind("security_group_rule", "/v2.0/security-group-rules", "security_group_rule")
ADDRESS_GROUP = Kind("address_group", "/v2.0/address-groups", "address_group")
MEMBERS = Kind("group_members", "/v2.0/address-groups", "address_group")
"""Its hub id is the security group's with ``COMPANION`` behind it."""
QOS = Kind("qos_policy", "/v2.0/qos/policies", "policy")
TRUNK = Kind("trunk", "/v2.0/trunks", "trunk")
FLOATING = Kind("floating_ip", "/v2.0/floatingips", "floatingip")


class Refused(Fault):
    """A site's refusal of a copy. Its own words go to the log: they name the site's things, not the user's."""

    def __init__(self, site: str, what: str, reply: Reply) -> None:
        super().__init__(409, f"The {what.replace('_', ' ')} cannot be provided in availability zone {site} at the moment.")
        self.reply = reply
        log.warning("site refused", site=site, what=what, status=reply.status, answer=reply.body[:500].decode(errors="replace"))


class Gone(Conflict):
    """A copy believed to be there is not; its pair is dropped, and a new try makes it again."""


def stamped(row: Mapping[str, Any]) -> str | None:
    """The hub id a copy carries; None for what is not ours."""
    text = row.get("description") or ""
    return text[len(STAMP) :] if text.startswith(STAMP) else None


def accepted(site: str, what: str, reply: Reply, *statuses: int) -> Reply:
    """The reply if it is a success (or one of ``statuses``). Raises Refused for other 4xx, BadReply for 5xx."""
    if reply.ok or reply.status in statuses:
        return reply
    if 400 <= reply.status < 500 and reply.status != 401:
        raise Refused(site, what, reply)
    raise BadReply(site, f"{what}: {reply.status} {reply.body[:300]!r}")


def changes(row: Mapping[str, Any], want: Mapping[str, Any]) -> Doc:
    """The part of ``want`` that ``row`` has otherwise. The order of lists means nothing in Neutron's documents."""
    return {k: v for k, v in want.items() if _plain(row.get(k)) != _plain(v)}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(msgspec.json.encode(_plain(v), order="sorted") for v in value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


class Replicas:
    """Calls, pairs and locks that every kind needs. Every method may be repeated."""

    def __init__(self, store: Store, south: South) -> None:
        self.store, self.south = store, south
        self.made: Callable[[Kind, str], None] = lambda kind, hub_id: None
        """Told of every copy that was not paired before: the hub may have changed while nobody knew that it had to follow."""
        self._locks: weakref.WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    # -- the hub -----------------------------------------------------------------------------------------------------

    async def hub(self, kind: Kind, hub_id: str) -> Doc | None:
        """The hub's object as it is now; None where there is none."""
        return await self._show(HUB, kind, hub_id)

    async def hub_list(self, kind: Kind, *params: tuple[str, str]) -> list[Doc]:
        """The hub's objects that match all parameters."""
        return await everything(self.south, HUB, "network", kind.path, kind.plural, params=list(params))

    async def hub_by_ids(self, kind: Kind, ids: Iterable[str]) -> dict[str, Doc]:
        """Many at once; what is gone is left out."""
        wanted = sorted(set(ids))
        out: dict[str, Doc] = {}
        for at in range(0, len(wanted), 100):
            rows = await self.hub_list(kind, *(("id", i) for i in wanted[at : at + 100]))
            out |= {r["id"]: r for r in rows}
        return out

    # -- a site ------------------------------------------------------------------------------------------------------

    async def call(self, site: str, method: str, path: str, doc: Any = None, *params: tuple[str, str]) -> Reply:
        """One call to the site's Neutron as its service account."""
        return await self.south.call(site, "network", method, path, json=doc, params=params)

    async def site_list(self, site: str, kind: Kind, *params: tuple[str, str]) -> list[Doc]:
        """The site's objects that match all parameters."""
        return await everything(self.south, site, "network", kind.path, kind.plural, params=list(params))

    async def show(self, site: str, kind: Kind, site_id: str) -> Doc | None:
        """The copy as it is; None where the site says there is none."""
        return await self._show(site, kind, site_id)

    async def find(self, site: str, kind: Kind, hub_id: str, project: str | None = None) -> Doc | None:
        """The copy by its stamp: made before a crash, its pair never written.

        ``project`` (the site's) is where it must be: anybody at the site can write our stamp onto something of his own.
        """
        rows = await self.site_list(site, kind, ("description", STAMP + hub_id))
        return next((r for r in rows if stamped(r) == hub_id and project in (None, r.get("project_id"))), None)

    async def recover(self, kind: Kind, hub_id: str, sites: Iterable[str]) -> None:
        """Copies whose making was never answered are paired: before they go, for what has no pair is left."""
        for site in set(sites) - (await self.sites_of(kind, hub_id)).keys():
            row = await self.find(site, kind, hub_id)
            if row is not None:
                await self.pair(site, kind, hub_id, row["id"], None)

    async def site_id(self, site: str, kind: Kind, hub_id: str) -> str | None:
        """The copy's id, from the pair alone."""
        pair = await self.store.pairs.get(kind.name, hub_id, site)
        return pair.site_id if pair else None

    async def sites_of(self, kind: Kind, hub_id: str) -> dict[str, str]:
        """site -> the copy's id there, from the pairs."""
        return {p.site: p.site_id for p in await self.store.pairs.of_hub(kind.name, hub_id)}

    async def ensure(
        self,
        site: str,
        kind: Kind,
        hub_id: str,
        *,
        owner: str | None,
        project: str,
        make: Callable[[], Awaitable[Doc]],
        lease: bool = True,
        unique: bool = False,
    ) -> tuple[str, Doc | None]:
        """``(the copy's id, the row if it was not paired before this call)``: found by its stamp, else made from ``make()``.

        ``owner`` is the hub project that may name it (None: everybody), ``project`` the site's that it is in. ``make`` must
        not ensure anything itself while the lease is held: leases are never nested (design review 7.4).
        ``lease`` False: one maker at a time is sure already.
        ``unique``: the site itself refuses a second one (409), so it need not be looked for first.
        """
        known = await self.site_id(site, kind, hub_id)
        if known is not None:
            return known, None
        async with self.alone(site, kind.name, hub_id, lease=lease):
            known = await self.site_id(site, kind, hub_id)
            if known is not None:
                return known, None
            row = None if unique else await self.find(site, kind, hub_id, project)
            if row is None:
                try:
                    row = await self.create(site, kind, {**await make(), "project_id": project, "description": STAMP + hub_id})
                except Refused as e:
                    row = await self.find(site, kind, hub_id, project) if unique and e.reply.status == 409 else None
                    if row is None:
                        raise
            await self.pair(site, kind, hub_id, row["id"], owner)
            self.made(kind, hub_id)
            return row["id"], row

    @contextlib.asynccontextmanager
    async def alone(self, site: str, what: str, hub_id: str, *, lease: bool = True) -> AsyncIterator[None]:
        """One task of one process at a time for this thing at this site."""
        lock = self._locks.setdefault((site, what, hub_id), asyncio.Lock())
        async with lock:
            if not lease:
                yield
                return
            key = f"{what}/{hub_id}/{site}"
            async with self.store.leases.single_flight(key, self.store.owner, LEASE, PATIENCE):
                yield

    async def create(self, site: str, kind: Kind, body: Doc) -> Doc:
        """POST. The shadow project's quota is none of the user's business: the hub's counts, so a full one is lifted."""
        for again in (True, False):
            reply = await self.call(site, "POST", kind.path, {kind.key: body})
            if again and reply.status == 409 and b"OverQuota" in reply.body and body.get("project_id"):
                await self._lift_quota(site, body["project_id"])
                continue
            break
        made: Doc = accepted(site, kind.name, reply).json()[kind.key]
        return made

    async def pair(self, site: str, kind: Kind, hub_id: str, site_id: str, owner: str | None) -> None:
        """Remember it. What stood there before is stale: the site has just said what is."""
        pair = Pair(kind=kind.name, hub_id=hub_id, site=site, site_id=site_id, project_id=owner)
        try:
            await self.store.pairs.put(pair)
        except Conflict:
            await self.store.pairs.drop(kind.name, hub_id, site)
            await self.store.pairs.put(pair)

    async def update(self, site: str, kind: Kind, row: Doc, want: Mapping[str, Any]) -> None:
        """PUT what differs, if anything does."""
        if body := changes(row, want):
            accepted(site, kind.name, await self.call(site, "PUT", f"{kind.path}/{row['id']}", {kind.key: body}))

    async def delete(self, site: str, kind: Kind, hub_id: str, site_id: str) -> None:
        """DELETE and forget. Raises Refused while something still uses it."""
        accepted(site, kind.name, await self.call(site, "DELETE", f"{kind.path}/{site_id}"), 404)
        await self.store.pairs.drop(kind.name, hub_id, site)

    async def _lift_quota(self, site: str, project: str) -> None:
        names = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule", "rbac_policy")
        reply = await self.call(site, "PUT", f"/v2.0/quotas/{project}", {"quota": dict.fromkeys(names, -1)})
        accepted(site, "quota", reply)

    async def _show(self, target: str, kind: Kind, ident: str) -> Doc | None:
        if not ident:  # a port's ``device_id`` may be anything a user wrote
            return None
        reply = await self.south.call(target, "network", "GET", f"{kind.path}/{segment(ident)}")
        if reply.status == 404:
            return None
        row: Doc = reply.expect(200).json()[kind.key]
        return row
