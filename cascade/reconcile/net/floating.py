"""Floating IPs in sites: one stands only where the port it points at has its copy, with the hub's address.

With port forwardings it points at no port itself; it stands where the ports behind them do, in one site: an address answers once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog

from cascade.model.errors import Fault
from cascade.model.site import HUB
from cascade.reconcile.net.networks import NetworkReplicas
from cascade.reconcile.net.replica import FLOATING, NETWORK, PORT, Doc, Replicas, accepted
from cascade.reconcile.pages import everything

log = structlog.get_logger(__name__)

_SAME = ("protocol", "internal_ip_address", "internal_port_id", "description")
_NUMBERS = ("internal_port", "external_port")
"""Each as one number, or with ``_range`` behind its name as two."""


class FloatingReplicas:
    """Hub and sites hand out disjoint ranges, so the hub's address is free in every site (design review 2.12)."""

    def __init__(self, replicas: Replicas, networks: NetworkReplicas) -> None:
        self._r, self._networks = replicas, networks

    async def forwardings(self, floating: Doc) -> list[Doc]:
        """The hub's, in the order they were made as far as the hub tells."""
        return await self._forwardings(HUB, floating["id"]) if floating.get("port_forwardings") else []

    async def sites(self, floating: Doc, forwardings: list[Doc]) -> dict[str, str | None]:
        """Site where it belongs -> the id there of the port it points at, None where it has forwardings instead.

        Of forwardings to ports in several sites those of one count: where it stands, else that of the first.
        """
        if floating["port_id"]:
            return dict(await self._r.sites_of(PORT, floating["port_id"]))
        found = [site for f in forwardings for site in await self._r.sites_of(PORT, f["internal_port_id"])]
        here = await self._r.sites_of(FLOATING, floating["id"])
        if len(set(found)) > 1:
            log.error("forwardings of a floating IP lead to several sites", id=floating["id"], sites=sorted(set(found)))
        chosen = next((s for s in found if s in here), found[0] if found else None)
        return {chosen: None} if chosen else {}

    async def judge(self, external: str, port: str, beside: Iterable[str] = ()) -> None:
        """Raises Neutron's own Fault 404 where an external network or the port's router is in no site of the port, and 409 where
        an address that leads to ports ``beside`` this one leads to another site already."""
        there = await self._r.sites_of(PORT, port)
        if not there:
            return
        others = {s for p in beside for s in await self._r.sites_of(PORT, p)}
        if others and not others & there.keys():
            text = f"Port {port} is in availability zone {min(there)}, and the Floating IP leads to {min(others)} already: "
            raise Fault(409, f"{text}forwardings of one address go to one zone.")
        net = await self._r.hub(NETWORK, external)
        zones = self._networks.zones(net) if net is not None else []
        what = f"External network {external}"
        if not zones and (row := await self._r.hub(PORT, port)) is not None:
            pinned = await self._networks.pinned.site(row["network_id"])
            zones, what = [pinned] if pinned else [], "The router"
        for site in there:
            if zones and site not in zones:
                text = f"{what} is in availability zone {', '.join(zones)}, and so External network {external} is not reachable "
                text += f"from port {port} in {site}.  Therefore, cannot associate it with a Floating IP."
                raise Fault(404, text, kind="ExternalGatewayForFloatingIPNotFound")

    async def sync(self, site: str, floating: Doc, port: str | None, forwardings: list[Doc]) -> None:
        """It is in the site and points at ``port`` (the site's id), or has these forwardings; its router is there already."""
        net = await self._r.hub(NETWORK, floating["floating_network_id"])
        if net is None:
            return
        external = await self._networks.external(site, net)
        project = await self._r.south.shadow.project(site, floating["project_id"])
        target = {"port_id": port, "fixed_ip_address": floating["fixed_ip_address"]} if port else {"port_id": None}

        async def make() -> Doc:
            return {
                **target, "floating_network_id": external,
                "floating_ip_address": floating["floating_ip_address"],
            }  # fmt: skip

        site_id, row = await self._r.ensure(
            site, FLOATING, floating["id"], owner=floating["project_id"], project=project, make=make
        )
        row = row or await self._r.show(site, FLOATING, site_id)
        if row is None:
            await self._r.store.pairs.drop(FLOATING.name, floating["id"], site)
            await self.sync(site, floating, port, forwardings)
            return
        if row.get("port_forwardings") and port:
            await self._forward(site, row, [])
        if row["port_id"] != port or (port and row["fixed_ip_address"] != floating["fixed_ip_address"]):
            await self._r.update(site, FLOATING, row, target)
        if not port:
            await self._forward(site, row, forwardings)

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """Not pointing at anything here any more, or gone at the hub."""
        row = await self._r.show(site, FLOATING, site_id)
        if row is not None and row.get("port_forwardings"):
            await self._forward(site, row, [])
        await self._r.delete(site, FLOATING, hub_id, site_id)

    async def _forward(self, site: str, row: Doc, forwardings: list[Doc]) -> None:
        """Those and no others: what differs goes before what takes its place."""
        ports = await self._r.store.pairs.to_site(site, [f["internal_port_id"] for f in forwardings])
        wanted = [
            _shape({**f, "internal_port_id": ports[f["internal_port_id"]].site_id})
            for f in forwardings
            if f["internal_port_id"] in ports
        ]
        have = {f["id"]: _shape(f) for f in await self._forwardings(site, row["id"])}
        path = f"{FLOATING.path}/{row['id']}/port_forwardings"
        for ident, shape in have.items():
            if shape not in wanted:
                accepted(site, "port forwarding", await self._r.call(site, "DELETE", f"{path}/{ident}"), 404)
        for shape in wanted:
            if shape not in have.values():
                accepted(site, "port forwarding", await self._r.call(site, "POST", path, {"port_forwarding": shape}))

    async def _forwardings(self, target: str, ident: str) -> list[Doc]:
        path = f"{FLOATING.path}/{ident}/port_forwardings"
        return await everything(self._r.south, target, "network", path, "port_forwardings", params=[])


def leads_to(floating: Doc, port: str) -> bool:
    """Whether the hub's floating IP points at this port, or forwards to it."""
    behind = {f.get("internal_port_id") for f in floating.get("port_forwardings") or ()}
    return floating.get("port_id") == port or port in behind


def _shape(forwarding: Doc) -> dict[str, Any]:
    """What is the same of a forwarding at hub and site, as it is written."""
    shape = {k: forwarding.get(k) or "" for k in _SAME}
    for name in _NUMBERS:
        many = f"{name}_range"
        key = name if forwarding.get(name) is not None else many
        shape[key] = forwarding[key]
    return shape
