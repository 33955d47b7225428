"""QoS specs at sites, and which volume type has which: by name, like the types."""

from __future__ import annotations

from typing import Any

from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.reconcile.pages import everything, segment
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.pairs import Pair

Doc = dict[str, Any]
KIND = "qos_spec"
LEASE, PATIENCE = 30.0, 20.0


class QosSpecs:
    """Made at a site with the first type that has them there, or with all of them (``sync_all``)."""

    def __init__(self, store: Store, south: South) -> None:
        self._store, self._south = store, south

    async def sync_all(self, site: str) -> None:
        """All the hub has, and pairs whose hub part may be gone."""
        rows = await everything(self._south, HUB, "volume", "/qos-specs", "qos_specs")
        ids = {r["id"] for r in rows} | {p.hub_id for p in await self._store.pairs.all(KIND, site=site)}
        for hub_id in sorted(ids):
            await self.sync(site, hub_id)

    async def sync(self, site: str, hub_id: str) -> str | None:
        """One at one site as the hub has it, one at a time; returns the site's id."""
        async with self._store.leases.single_flight(f"{KIND}/{hub_id}/{site}", self._store.owner, LEASE, PATIENCE):
            return await self._sync(site, hub_id)

    async def _sync(self, site: str, hub_id: str) -> str | None:
        want = await self._show(HUB, hub_id)
        pair = await self._store.pairs.get(KIND, hub_id, site)
        if want is None:
            if pair is not None:
                if await self._store.docs.get(_adoption(site, hub_id)) is None:
                    # Forced: whether it may go was the hub's to say, and its associations are gone there.
                    (await self._call(site, "DELETE", f"/qos-specs/{pair.site_id}?force=true")).expect(202, 404)
                await self._store.docs.drop(_adoption(site, hub_id))
                await self._store.pairs.drop(KIND, hub_id, site)
            return None
        there = await self._show(site, pair.site_id) if pair else None
        if there is None:
            there = await self._found_or_made(site, want)
            await self._store.pairs.drop(KIND, hub_id, site)
            await self._store.pairs.put(Pair(kind=KIND, hub_id=hub_id, site=site, site_id=there["id"], project_id=None))
        target, have = _flat(want), _flat(there)
        put = {k: v for k, v in target.items() if have.get(k) != v}
        if put:
            (await self._call(site, "PUT", f"/qos-specs/{there['id']}", {"qos_specs": put})).expect(200)
        gone = sorted(have.keys() - target.keys())
        if gone:
            (await self._call(site, "PUT", f"/qos-specs/{there['id']}/delete_keys", {"keys": gone})).expect(202)
        found: str = there["id"]
        return found

    async def associate(self, site: str, wanted: str | None, volume_type: Doc) -> None:
        """Give a site's type the site's copy of the hub's QoS specs, or take away one that was a copy."""
        have = volume_type.get("qos_specs_id")
        want = await self.sync(site, wanted) if wanted else None
        if want == have:
            return
        params = [("vol_type_id", volume_type["id"])]
        if have:
            ours = await self._store.pairs.to_hub(site, [have])
            if want is None and have not in ours:
                return  # the site owner's own choice for a type the hub says nothing about
            path = f"/qos-specs/{have}/disassociate"
            (await self._south.call(site, "volume", "GET", path, params=params)).expect(202, 404)
        if want:
            path = f"/qos-specs/{want}/associate"
            (await self._south.call(site, "volume", "GET", path, params=params)).expect(202)

    async def _found_or_made(self, site: str, want: Doc) -> Doc:
        rows = await everything(self._south, site, "volume", "/qos-specs", "qos_specs")
        found = next((r for r in rows if r["name"] == want["name"]), None)
        if found is not None:
            await self._store.docs.put(_adoption(site, want["id"]), {"name": want["name"]})
            return found
        body = {"qos_specs": {"name": want["name"], **_flat(want)}}
        made: Doc = (await self._call(site, "POST", "/qos-specs", body)).expect(200).json()["qos_specs"]
        return made

    async def _show(self, target: str, ident: str) -> Doc | None:
        reply = await self._call(target, "GET", f"/qos-specs/{segment(ident)}")
        if reply.status == 404:
            return None
        found: Doc = reply.expect(200).json()["qos_specs"]
        return found

    async def _call(self, target: str, method: str, path: str, body: Any = None) -> Reply:
        path, _, query = path.partition("?")
        params = [tuple(query.split("=", 1))] if query else None
        return await self._south.call(target, "volume", method, path, json=body, params=params)  # type: ignore[arg-type]


def _flat(row: Doc) -> dict[str, str]:
    return {"consumer": row["consumer"], **row["specs"]}


def _adoption(site: str, hub_id: str) -> str:
    return f"adopted/qos_spec/{site}/{hub_id}"
