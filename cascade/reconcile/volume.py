"""Cinder's hub-owned kinds at sites: volume types, QoS specs, group types. Cinder picks ids, so there are pairs, by name.

A type that a site had under the same name before (``__DEFAULT__`` always) is *adopted*: the hub's specs are put in, what
else the site's owner put there (``volume_backend_name``...) stays, and the type stays when the hub's goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import CascadeError, SiteError, SiteUnreachable, Terminal
from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.reconcile.pages import everything, segment
from cascade.reconcile.qos import Doc, QosSpecs
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

VERSION = "3.60"
LEASE, PATIENCE = 30.0, 20.0
"""Seconds without a sign of life after which another may work on a type, and the seconds one waits for the other."""
BELIEVED = 300.0
"""Seconds a type seen at a site as the hub has it is believed to be so still."""


@dataclass(frozen=True)
class _Kind:
    """How one of the two sorts of type is spoken of."""

    kind: str
    path: str
    specs: str
    users: tuple[str, str]
    """Path of what may be of this type, and the filter that finds it."""
    rich: bool
    """Has access lists, encryption and QoS specs."""


KINDS = {
    "volume_type": _Kind("volume_type", "/types", "extra_specs", ("/volumes", "volume_type_id"), True),
    "group_type": _Kind("group_type", "/group_types", "group_specs", ("/groups", "group_type_id"), False),
}


class Volumes:
    """Reads the hub, drives the sites; all site calls by the service account."""

    def __init__(self, store: Store, south: South, sites: Sites, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._south, self._sites, self._clock = store, south, sites, clock
        self.qos = QosSpecs(store, south)
        self._seen: dict[tuple[str, str], tuple[Doc, float]] = {}
        self._granted: dict[tuple[str, str, str], float] = {}

    async def materialise_type(self, site: str, wanted: str, caller: Caller, *, kind: str = "volume_type") -> str | None:
        """The site's id of a type the caller named by name or id; None where the hub shows him no such type."""
        k = KINDS[kind]
        rows = await everything(self._south, HUB, "volume", k.path, f"{kind}s", as_=caller, version=VERSION)
        found = next((r for r in rows if r["id"] == wanted), None) or next((r for r in rows if r["name"] == wanted), None)
        if found is None:
            return None
        pair = await self._store.pairs.get(kind, found["id"], site)
        seen, when = self._seen.get((site, found["id"]), (None, 0.0))
        if pair is None or seen != found or self._clock() - when > BELIEVED:
            await self.sync(kind, site, found["id"])
            self._seen[site, found["id"]] = (found, self._clock())
            pair = await self._store.pairs.get(kind, found["id"], site)
        if pair is not None and k.rich and not _public(found) and caller.project_id is not None:
            project = await self._south.shadow.project(site, caller.project_id)
            await self._grant(site, pair.site_id, project)
        return pair.site_id if pair else None

    async def sync_types(self, site: str) -> list[str]:
        """Everything of this module at one site. Returns what an operator has to look at."""
        problems: list[str] = []
        await self.qos.sync_all(site)
        for kind, k in KINDS.items():
            params = [("is_public", "None")]
            rows = await everything(self._south, HUB, "volume", k.path, f"{kind}s", params=params, version=VERSION)
            ids = {r["id"] for r in rows} | {p.hub_id for p in await self._store.pairs.all(kind, site=site)}
            for hub_id in sorted(ids):
                try:
                    await self.sync(kind, site, hub_id)
                except SiteError:
                    raise
                except CascadeError as e:
                    problems.append(f"{kind} {hub_id}: {e}")
        return problems

    async def sync(self, kind: str, site: str, hub_id: str) -> None:
        """One type at one site as the hub has it now; one at a time, since Cinder takes two of one name made at once."""
        async with self._store.leases.single_flight(f"{kind}/{hub_id}/{site}", self._store.owner, LEASE, PATIENCE):
            await self._sync(KINDS[kind], site, hub_id)

    async def _sync(self, k: _Kind, site: str, hub_id: str) -> None:
        self._seen.pop((site, hub_id), None)
        want = await self._show(HUB, k, hub_id)
        pair = await self._store.pairs.get(k.kind, hub_id, site)
        if want is None:
            if pair is not None:
                await self._remove(k, pair)
            return
        there = await self._show(site, k, pair.site_id) if pair else None
        if there is None:
            there = await self._found_or_made(k, site, want)
        await self._facts(k, site, want, there)
        await self._specs(k, site, want, there)
        if k.rich:
            await self._access(site, want, there)
            await self._encryption(site, want, there)
            await self.qos.associate(site, want.get("qos_specs_id"), there)

    async def in_use(self, kind: str, hub_id: str) -> str | None:
        """A site where something is of this type. Raises SiteUnreachable where one cannot be asked (a veto not heard)."""
        path, filter_ = KINDS[kind].users
        for pair in await self._store.pairs.of_hub(kind, hub_id):
            if pair.site not in self._sites.names():
                continue
            if not self._sites.usable(pair.site):
                raise SiteUnreachable(pair.site, "down; it has to be asked before a type may change")
            params = [("all_tenants", "1"), ("limit", "1"), (filter_, pair.site_id)]
            reply = await self._south.call(pair.site, "volume", "GET", path, params=params, version=VERSION)
            if reply.expect(200).json()[path[1:]]:
                return pair.site
        return None

    # -- one type at one site ----------------------------------------------------------------------------------------

    async def _found_or_made(self, k: _Kind, site: str, want: Doc) -> Doc:
        rows = await everything(self._south, site, "volume", k.path, f"{k.kind}s", params=[("is_public", "None")], version=VERSION)
        found = next((r for r in rows if r["name"] == want["name"]), None)
        if found is not None:
            other = (await self._store.pairs.to_hub(site, [found["id"]])).get(found["id"])
            if other is not None and other.hub_id != want["id"]:
                if await self._show(HUB, k, other.hub_id) is not None:
                    raise Terminal(f"{k.kind} {want['name']} at {site} is the replica of another type of the hub")
                await self._store.pairs.drop(k.kind, other.hub_id, site)  # the hub's was made anew under its name
            else:
                await self._store.docs.put(_adoption(site, k.kind, want["id"]), {"keys": []})
                log.info("type adopted", site=site, kind=k.kind, name=want["name"])
            there: Doc = found
        else:
            body: Doc = {"name": want["name"], "description": want.get("description"), k.specs: want.get(k.specs) or {}}
            body["os-volume-type-access:is_public" if k.rich else "is_public"] = _public(want)
            if not k.rich:
                del body[k.specs]
            made = await self._call(site, "POST", k.path, {k.kind: body})
            there = made.expect(200, 202).json()[k.kind]
        await self._store.pairs.drop(k.kind, want["id"], site)
        await self._store.pairs.put(Pair(kind=k.kind, hub_id=want["id"], site=site, site_id=there["id"], project_id=None))
        return there

    async def _facts(self, k: _Kind, site: str, want: Doc, there: Doc) -> None:
        change: Doc = {}
        adopted = await self._adopted(site, k.kind, want["id"]) is not None
        for key in ("name", "description"):
            if want.get(key) != there.get(key) and not (adopted and key == "description"):
                change[key] = want.get(key)
        if _public(want) != _public(there):
            change["is_public"] = _public(want)
        if change:
            body = {k.kind: {"name": want["name"], **change}}
            (await self._call(site, "PUT", f"{k.path}/{there['id']}", body)).expect(200)

    async def _specs(self, k: _Kind, site: str, want: Doc, there: Doc) -> None:
        base = f"{k.path}/{there['id']}/{k.specs}"
        have: Doc = there.get(k.specs) or {}
        target: Doc = want.get(k.specs) or {}
        put = {key: value for key, value in target.items() if have.get(key) != value}
        adopted = await self._adopted(site, k.kind, want["id"])
        gone = have.keys() - target.keys()
        if adopted is not None:
            gone &= set(adopted["keys"])
        if put:
            (await self._call(site, "POST", base, {k.specs: put})).expect(200, 202)
        for key in sorted(gone):
            (await self._call(site, "DELETE", f"{base}/{segment(key)}")).expect(202, 204, 404)
        if adopted is not None and set(adopted["keys"]) != set(target):
            await self._store.docs.put(_adoption(site, k.kind, want["id"]), {"keys": sorted(target)})

    async def _access(self, site: str, want: Doc, there: Doc) -> None:
        """A private type: the shadow projects of exactly the hub's projects; others are the site owner's business."""
        if _public(want):
            return
        pairs = await self._store.pairs.to_site(site, await self._listed(HUB, want["id"]))
        wanted = {p.site_id for p in pairs.values()}
        have = await self._listed(site, there["id"])
        for project in wanted - have:
            await self._grant(site, there["id"], project)
        ours = await self._store.pairs.to_hub(site, have) if have else {}
        for project in have - wanted:
            if project in ours:
                body = {"removeProjectAccess": {"project": project}}
                (await self._call(site, "POST", f"/types/{there['id']}/action", body)).expect(202, 404)
                self._granted.pop((site, there["id"], project), None)

    async def _listed(self, target: str, type_id: str) -> set[str]:
        reply = await self._call(target, "GET", f"/types/{type_id}/os-volume-type-access")
        return {r["project_id"] for r in reply.expect(200).json()["volume_type_access"]}

    async def _grant(self, site: str, type_id: str, project: str) -> None:
        if self._clock() - self._granted.get((site, type_id, project), -BELIEVED) >= BELIEVED:
            body = {"addProjectAccess": {"project": project}}
            (await self._call(site, "POST", f"/types/{type_id}/action", body)).expect(202, 409)
            self._granted[site, type_id, project] = self._clock()

    async def _encryption(self, site: str, want: Doc, there: Doc) -> None:
        at_hub = await self._encrypted(HUB, want["id"])
        at_site = await self._encrypted(site, there["id"])
        facts = {key: at_hub.get(key) for key in ("provider", "cipher", "key_size", "control_location")}
        base = f"/types/{there['id']}/encryption"
        if at_hub and not at_site:
            (await self._call(site, "POST", base, {"encryption": facts})).expect(200)
        elif at_hub and any(at_site.get(key) != value for key, value in facts.items()):
            (await self._call(site, "PUT", f"{base}/{at_site['encryption_id']}", {"encryption": facts})).expect(200)
        elif at_site and not at_hub and await self._adopted(site, "volume_type", want["id"]) is None:
            (await self._call(site, "DELETE", f"{base}/{at_site['encryption_id']}")).expect(202, 404)

    async def _encrypted(self, target: str, type_id: str) -> Doc:
        found: Doc = (await self._call(target, "GET", f"/types/{type_id}/encryption")).expect(200).json()
        return found if found.get("encryption_id") else {}

    async def _remove(self, k: _Kind, pair: Pair) -> None:
        """A site that still has volumes of it refuses (NativeFault): tried again until they are gone."""
        if await self._adopted(pair.site, k.kind, pair.hub_id) is None:
            (await self._call(pair.site, "DELETE", f"{k.path}/{pair.site_id}")).expect(202, 204, 404)
        else:
            await self._store.docs.drop(_adoption(pair.site, k.kind, pair.hub_id))
        await self._store.pairs.drop(k.kind, pair.hub_id, pair.site)

    async def _show(self, target: str, k: _Kind, type_id: str) -> Doc | None:
        reply = await self._call(target, "GET", f"{k.path}/{segment(type_id)}")
        if reply.status == 404:
            return None
        found: Doc = reply.expect(200).json()[k.kind]
        return found

    async def _adopted(self, site: str, kind: str, hub_id: str) -> Doc | None:
        found: Doc | None = await self._store.docs.get(_adoption(site, kind, hub_id))
        return found

    async def _call(self, target: str, method: str, path: str, body: Any = None) -> Reply:
        return await self._south.call(target, "volume", method, path, json=body, version=VERSION)


def _public(row: Doc) -> bool:
    return bool(row.get("os-volume-type-access:is_public", row.get("is_public", True)))


def _adoption(site: str, kind: str, hub_id: str) -> str:
    return f"adopted/{kind}/{site}/{hub_id}"
