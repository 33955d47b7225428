"""Flavors at sites: the hub's id, name, shape, extra specs and access, nothing invented.

A site flavor that bears a hub flavor's id but was not made by us is *adopted* when its shape is equal: its extra specs
and access are brought in line, and it stays when the hub's flavor goes. Another shape is Terminal: an operator decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import BadReply, Terminal
from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.reconcile.pages import everything, segment
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

VERSION = "2.61"
"""Extra specs and description stand in the flavor itself; extra specs are not yet validated (2.86) by a site that may
know fewer names than the hub."""
BELIEVED = 60.0
"""Seconds a site's flavor is believed to be still as we last saw it; changes made through the hub end it at once."""
_SHAPE = ("ram", "vcpus", "disk", "OS-FLV-EXT-DATA:ephemeral", "swap", "rxtx_factor", "os-flavor-access:is_public")
Doc = dict[str, Any]


class Flavors:
    """Reads the hub, drives the sites. All site calls by the service account."""

    def __init__(self, store: Store, south: South, sites: Sites, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._south, self._sites, self._clock = store, south, sites, clock
        self._seen: dict[tuple[str, str], tuple[Doc, float]] = {}
        self._granted: dict[tuple[str, str, str], float] = {}
        """(site, flavor, site project) -> when access was last known to be there."""

    async def materialise(self, site: str, flavor_id: str, caller: Caller) -> str:
        """The site's flavor, made if need be; private ones are opened to the caller's shadow project.

        The hub says, now, whether the caller may use it: NativeFault (hub) where not. Terminal on a foreign shape.
        """
        path = f"/flavors/{segment(flavor_id)}"
        flavor = (await self._south.call(HUB, "compute", "GET", path, as_=caller, version=VERSION)).expect(200).json()["flavor"]
        if "extra_specs" not in flavor:  # a policy hides them from this caller, not from the site
            flavor = (await self._south.call(HUB, "compute", "GET", path, version=VERSION)).expect(200).json()["flavor"]
        await self._ensure(site, flavor)
        if not flavor["os-flavor-access:is_public"] and caller.project_id is not None:
            await self._grant(site, flavor_id, await self._south.shadow.project(site, caller.project_id))
        return flavor_id

    async def sync(self, site: str, flavor_id: str) -> None:
        """Bring one flavor at one site to what the hub says now; a flavor the hub has no more goes, unless adopted."""
        self._seen.pop((site, flavor_id), None)
        path = f"/flavors/{segment(flavor_id)}"
        reply = await self._south.call(HUB, "compute", "GET", path, version=VERSION)
        if reply.status == 404:
            await self._remove(site, flavor_id)
            return
        flavor = reply.expect(200).json()["flavor"]
        await self._ensure(site, flavor)
        if not flavor["os-flavor-access:is_public"]:
            await self._access(site, flavor_id)

    async def sync_all(self, site: str) -> list[str]:
        """Every flavor of the hub, and every pair whose flavor may be gone. Returns what an operator has to look at."""
        rows = await everything(
            self._south, HUB, "compute", "/flavors/detail", "flavors", params=[("is_public", "none")], version=VERSION
        )
        wanted = {row["id"] for row in rows}
        wanted |= {pair.hub_id for pair in await self._store.pairs.all("flavor", site=site)}
        problems = []
        for flavor_id in sorted(wanted):
            try:
                await self.sync(site, flavor_id)
            except Terminal as e:
                problems.append(str(e))
        return problems

    # -- one flavor at one site ------------------------------------------------------------------------------------

    async def _ensure(self, site: str, flavor: Doc) -> None:
        key = (site, flavor["id"])
        seen, when = self._seen.get(key, (None, 0.0))
        if seen == _facts(flavor) and self._clock() - when < BELIEVED:
            return
        there = await self._show(site, flavor["id"])
        pair = await self._store.pairs.get("flavor", flavor["id"], site)
        if there is not None and _shape(there) != _shape(flavor):
            if pair is None or await self._adopted(site, flavor["id"]):
                raise Terminal(f"flavor {flavor['id']} at {site}: {_difference(there, flavor)}")
            # Ours, and the hub's was deleted and made anew under the same id: so is the site's.
            await self._delete(site, flavor["id"])
            there = None
        if there is None:
            there = await self._create(site, flavor)
        elif pair is None:
            await self._store.docs.put(_adoption(site, flavor["id"]), {"name": there["name"]})
            log.info("flavor adopted", site=site, flavor=flavor["id"])
        if pair is None:
            await self._store.pairs.put(Pair(kind="flavor", hub_id=flavor["id"], site=site, site_id=flavor["id"], project_id=None))
        await self._details(site, flavor, there)
        self._seen[key] = (_facts(flavor), self._clock())

    async def _show(self, site: str, flavor_id: str) -> Doc | None:
        reply = await self._south.call(site, "compute", "GET", f"/flavors/{segment(flavor_id)}", version=VERSION)
        if reply.status == 404:
            return None
        flavor: Doc = reply.expect(200).json()["flavor"]
        return flavor

    async def _create(self, site: str, flavor: Doc) -> Doc:
        body = {"id": flavor["id"], "name": flavor["name"], "description": flavor.get("description"), **_shape(flavor)}
        reply = await self._post(site, body)
        if reply.status == 409:
            there = await self._show(site, flavor["id"])
            if there is not None:  # another gateway was faster
                if _shape(there) != _shape(flavor):
                    raise Terminal(f"flavor {flavor['id']} at {site}: {_difference(there, flavor)}")
                return there
            # The name is another flavor's there: names are for people, the id is what a create uses.
            reply = await self._post(site, {**body, "name": f"{flavor['name'][:200]} ({flavor['id'][:40]})"})
        made: Doc = reply.expect(200).json()["flavor"]
        return made

    async def _post(self, site: str, body: Doc) -> Reply:
        return await self._south.call(site, "compute", "POST", "/flavors", json={"flavor": body}, version=VERSION)

    async def _details(self, site: str, flavor: Doc, there: Doc) -> None:
        """Description and extra specs: the only parts of a flavor that change."""
        base = f"/flavors/{segment(flavor['id'])}"
        if flavor.get("description") != there.get("description"):
            body = {"flavor": {"description": flavor.get("description")}}
            (await self._south.call(site, "compute", "PUT", base, json=body, version=VERSION)).expect(200)
        want, have = flavor["extra_specs"], there.get("extra_specs") or {}
        put = {k: v for k, v in want.items() if have.get(k) != v}
        if put:
            body = {"extra_specs": put}
            (await self._south.call(site, "compute", "POST", f"{base}/os-extra_specs", json=body, version=VERSION)).expect(200)
        for name in have.keys() - want.keys():
            path = f"{base}/os-extra_specs/{segment(name)}"
            (await self._south.call(site, "compute", "DELETE", path, version=VERSION)).expect(200, 404)

    async def _remove(self, site: str, flavor_id: str) -> None:
        pair = await self._store.pairs.get("flavor", flavor_id, site)
        if pair is None:
            return
        if await self._adopted(site, flavor_id):
            await self._store.docs.drop(_adoption(site, flavor_id))
        else:
            await self._delete(site, flavor_id)
        await self._store.pairs.drop("flavor", flavor_id, site)

    async def _delete(self, site: str, flavor_id: str) -> None:
        (await self._south.call(site, "compute", "DELETE", f"/flavors/{segment(flavor_id)}", version=VERSION)).expect(202, 404)
        self._granted = {g: t for g, t in self._granted.items() if g[:2] != (site, flavor_id)}

    async def _adopted(self, site: str, flavor_id: str) -> bool:
        return await self._store.docs.get(_adoption(site, flavor_id)) is not None

    # -- access of private flavors ---------------------------------------------------------------------------------

    async def _grant(self, site: str, flavor_id: str, site_project: str) -> None:
        if self._clock() - self._granted.get((site, flavor_id, site_project), -BELIEVED) < BELIEVED:
            return
        reply = await self._action(site, flavor_id, "addTenantAccess", site_project)
        reply.expect(200, 409)  # 409: has it already
        self._granted[site, flavor_id, site_project] = self._clock()

    async def _access(self, site: str, flavor_id: str) -> None:
        """Shadow projects of hub projects: exactly those the hub lists. Others at the site are its owner's business."""
        at_hub = await self._listed(HUB, flavor_id)
        wanted = {p.site_id for p in (await self._store.pairs.to_site(site, at_hub)).values()}
        there = await self._listed(site, flavor_id)
        for project in wanted - there:
            await self._grant(site, flavor_id, project)
        ours = await self._store.pairs.to_hub(site, there)
        for project in there - wanted:
            if project in ours:
                (await self._action(site, flavor_id, "removeTenantAccess", project)).expect(200, 404)
                self._granted.pop((site, flavor_id, project), None)

    async def _listed(self, target: str, flavor_id: str) -> set[str]:
        path = f"/flavors/{segment(flavor_id)}/os-flavor-access"
        reply = await self._south.call(target, "compute", "GET", path, version=VERSION)
        return {row["tenant_id"] for row in reply.expect(200).json()["flavor_access"]}

    async def _action(self, site: str, flavor_id: str, action: str, project: str) -> Reply:
        path = f"/flavors/{segment(flavor_id)}/action"
        return await self._south.call(site, "compute", "POST", path, json={action: {"tenant": project}}, version=VERSION)


def _shape(flavor: Doc) -> Doc:
    """What cannot be changed after a flavor is made; swap 0 is "" below 2.75."""
    try:
        return {k: flavor.get(k) or 0 if k == "swap" else flavor[k] for k in _SHAPE}
    except KeyError as e:
        raise BadReply("flavor", f"field {e} is missing") from e


def _facts(flavor: Doc) -> Doc:
    return {
        "shape": _shape(flavor),
        "name": flavor["name"],
        "description": flavor.get("description"),
        "specs": flavor["extra_specs"],
    }


def _difference(there: Doc, flavor: Doc) -> str:
    have, want = _shape(there), _shape(flavor)
    return ", ".join(f"{k} is {have[k]}, at the hub {want[k]}" for k in _SHAPE if have[k] != want[k])


def _adoption(site: str, flavor_id: str) -> str:
    return f"adopted/flavor/{site}/{flavor_id}"
