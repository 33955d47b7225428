"""Trunks in sites: where the copy of a trunk's parent port stands, stands the trunk, with copies of its subports.

The trunk is made before a server is booted on its parent: not every driver takes a port that is bound. A parent is in
one site at a time, and so are its subports.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from cascade.reconcile.net.replica import PORT, TRUNK, Doc, Gone, Replicas, accepted, stamped

log = structlog.get_logger(__name__)

_PASSED = ("name", "admin_state_up")
_TAGGED = ("segmentation_type", "segmentation_id")


class Trunks:
    """Level-triggered: ``sync`` makes a site's trunk what the hub's is now."""

    def __init__(
        self, replicas: Replicas, stand: Callable[[str, Doc], Awaitable[str]], leave: Callable[[str, str], Awaitable[None]]
    ) -> None:
        """``stand(site, hub port)`` makes a port's copy and returns its id; ``leave(site, hub port's id)`` removes it."""
        self._r, self._stand, self._leave = replicas, stand, leave

    async def ensure(self, site: str, trunk: str) -> None:
        """The hub's trunk, if it is still there, stands in the site, where its parent's copy is already."""
        found = await self._r.hub(TRUNK, trunk)
        if found is not None:
            await self.sync(site, found)

    async def sync(self, site: str, trunk: Doc) -> None:
        """Trunk and subports as the hub has them; gone where the parent has left the site."""
        async with self._r.alone(site, "trunk-sync", trunk["id"]):
            parent = await self._r.site_id(site, PORT, trunk["port_id"])
            if parent is None:
                known = await self._r.site_id(site, TRUNK, trunk["id"])
                if known is not None:
                    await self._drop(site, trunk["id"], known)
                # Made for a trunk that then found no parent: no trunk's row tells of them.
                stranded = [await self._r.site_id(site, PORT, s["port_id"]) for s in trunk["sub_ports"]]
                await self._leaving(site, [s for s in stranded if s is not None])
                return
            want = [{"port_id": await self._subport(site, s["port_id"]), **{k: s[k] for k in _TAGGED}} for s in trunk["sub_ports"]]
            row = await self._make(site, trunk, parent, want)
            row = await self._subports(site, row, want)
            await self._r.update(site, TRUNK, row, {k: trunk[k] for k in _PASSED})

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """The hub's trunk is gone: its copy goes, and those of its subports. Refused where the site's driver wants the server
        gone first: tried again."""
        async with self._r.alone(site, "trunk-sync", hub_id):
            await self._drop(site, hub_id, site_id)

    async def part(self, site: str, port: str, drop: Callable[[], Awaitable[None]]) -> bool:
        """The site would not delete this port (its id): the trunk of ours on it goes, then the port, by ``drop``.

        Nobody makes the trunk again in between: a look at it waits, and then finds its parent gone. False: no trunk was there.
        """
        hubs = {stamped(row) for row in await self._r.site_list(site, TRUNK, ("port_id", port))}
        for hub_id in filter(None, hubs):
            async with self._r.alone(site, "trunk-sync", hub_id):
                for row in await self._r.site_list(site, TRUNK, ("port_id", port)):
                    await self._remove(site, row)
                await self._r.store.pairs.drop(TRUNK.name, hub_id, site)
                await drop()
            return True
        return False

    async def _make(self, site: str, trunk: Doc, parent: str, subports: list[Doc]) -> Doc:
        project = await self._r.south.shadow.project(site, trunk["project_id"])

        async def make() -> Doc:
            return {"port_id": parent, "sub_ports": subports, **{k: trunk[k] for k in _PASSED}}

        for _ in range(2):
            site_id, row = await self._r.ensure(site, TRUNK, trunk["id"], owner=trunk["project_id"], project=project, make=make)
            row = row or await self._r.show(site, TRUNK, site_id)
            if row is not None and row["port_id"] == parent:
                return row
            if row is not None:  # of a copy of the parent that is no more
                await self._drop(site, trunk["id"], site_id)
            else:
                await self._r.store.pairs.drop(TRUNK.name, trunk["id"], site)
        raise Gone(f"trunk {site_id} does not stay at {site}")

    async def _subports(self, site: str, row: Doc, want: list[Doc]) -> Doc:
        """One call for all that go, one for all that come; the trunk, as it is then."""
        have = [{k: s[k] for k in ("port_id", *_TAGGED)} for s in row["sub_ports"]]
        gone, new = [s for s in have if s not in want], [s for s in want if s not in have]
        if gone or new:
            row = await self._enabled(site, row)
        for verb, subports in (("remove_subports", [{"port_id": s["port_id"]} for s in gone]), ("add_subports", new)):
            if subports:
                path = f"{TRUNK.path}/{row['id']}/{verb}"
                accepted(site, "trunk", await self._r.call(site, "PUT", path, {"sub_ports": subports}))
        kept = {s["port_id"] for s in want}
        await self._leaving(site, [s["port_id"] for s in gone if s["port_id"] not in kept])
        return row

    async def _enabled(self, site: str, row: Doc) -> Doc:
        """Neutron changes nothing of a trunk whose administrative state is down."""
        if row["admin_state_up"]:
            return row
        await self._r.update(site, TRUNK, row, {"admin_state_up": True})
        return {**row, "admin_state_up": True}

    async def _drop(self, site: str, hub_id: str, site_id: str) -> None:
        row = await self._r.show(site, TRUNK, site_id)
        if row is not None:
            await self._remove(site, row)
        await self._r.store.pairs.drop(TRUNK.name, hub_id, site)

    async def _remove(self, site: str, row: Doc) -> None:
        await self._enabled(site, row)
        accepted(site, "trunk", await self._r.call(site, "DELETE", f"{TRUNK.path}/{row['id']}"), 404)
        await self._leaving(site, [s["port_id"] for s in row["sub_ports"]])

    async def _leaving(self, site: str, ports: list[str]) -> None:
        """Copies of ports that are subports no more have nothing to do here."""
        for pair in (await self._r.store.pairs.to_hub(site, ports)).values():
            if pair.kind == PORT.name:
                await self._leave(site, pair.hub_id)

    async def _subport(self, site: str, port: str) -> str:
        known = await self._r.site_id(site, PORT, port)
        if known is not None:
            return known
        found = await self._r.hub(PORT, port)
        if found is None:
            raise Gone(f"port {port} is no subport any more")
        return await self._stand(site, found)
