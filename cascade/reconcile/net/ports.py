"""Ports in sites: the hub's MAC, addresses and groups; never a device, so that Nova there accepts them (R2.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog

from cascade.reconcile.net.networks import Placed
from cascade.reconcile.net.replica import FLOATING, PORT, Doc, Refused, Replicas, stamped

log = structlog.get_logger(__name__)
T = TypeVar("T")

_PASSED = ("name", "admin_state_up", "port_security_enabled", "allowed_address_pairs", "extra_dhcp_opts", "qos_policy_id")
_VIRTUAL = ("00:00:5e:00:01:", "00:00:5e:00:02:")
"""MACs of virtual routers (RFC 5798): what every driver takes in an allowed pair beside the port's own."""


class PortReplicas:
    """One port in one site; at most one site has a server on it."""

    def __init__(self, replicas: Replicas) -> None:
        self._r = replicas

    async def ensure(self, site: str, port: Doc, placed: Placed, groups: Mapping[str, str], extensions: frozenset[str]) -> str:
        """The copy, as the hub's port is now."""
        want = self._want(port, placed.subnets, groups, extensions)
        return await _with_pairs(site, port, want, lambda w: self._ensure(site, port, placed, w))

    async def _ensure(self, site: str, port: Doc, placed: Placed, want: Doc) -> str:
        project = await self._r.south.shadow.project(site, port["project_id"])

        async def make() -> Doc:
            kind = port.get("binding:vnic_type") or "normal"
            fixed: Doc = {"network_id": placed.network, "mac_address": port["mac_address"]}
            automatic = {placed.subnets[s] for s in placed.automatic}
            fixed["fixed_ips"] = [f for f in want["fixed_ips"] if f["subnet_id"] not in automatic]
            return {**want, **fixed, **({"binding:vnic_type": kind} if kind != "normal" else {})}

        # Whoever materialises a port has claimed it at the hub, so there is one maker; and a MAC or address fits once.
        site_id, row = await self._r.ensure(
            site, PORT, port["id"], owner=port["project_id"], project=project, make=make, lease=False, unique=True
        )
        if row is None:
            row = await self._r.show(site, PORT, site_id)
            if row is None:
                await self._r.store.pairs.drop(PORT.name, port["id"], site)
                return await self._ensure(site, port, placed, want)
        await self._r.update(site, PORT, row, want)
        return site_id

    async def sync(
        self, site: str, port: Doc, site_id: str, subnets: Mapping[str, str], groups: Mapping[str, str], extensions: frozenset[str]
    ) -> bool:
        """After a change at the hub; False where the copy is gone."""
        row = await self._r.show(site, PORT, site_id)
        if row is None:
            return False
        want = self._want(port, subnets, groups, extensions)
        if not row.get("device_id"):
            want["mac_address"] = port["mac_address"]  # Neutron refuses it on a bound port, the hub's would have too
        await _with_pairs(site, port, want, lambda w: self._r.update(site, PORT, row, w))
        return True

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """Away with the copy and with floating IPs that pointed at it: the hub's may go to a port elsewhere next."""
        for row in await self._r.site_list(site, FLOATING, ("port_id", site_id)):
            floating = stamped(row)
            if floating is not None:
                await self._r.delete(site, FLOATING, floating, row["id"])
        await self._r.delete(site, PORT, hub_id, site_id)

    def _want(self, port: Doc, subnets: Mapping[str, str], groups: Mapping[str, str], extensions: frozenset[str]) -> Doc:
        want = {k: port[k] for k in _PASSED if k in port}
        want["fixed_ips"] = [
            {"subnet_id": subnets[f["subnet_id"]], "ip_address": f["ip_address"]}
            for f in port["fixed_ips"]
            if f["subnet_id"] in subnets
        ]
        want["security_groups"] = [groups[g] for g in port.get("security_groups", ()) if g in groups]
        if port.get("dns_name") and "dns-integration" in extensions:
            want["dns_name"] = port["dns_name"]
        return want


async def _with_pairs(site: str, port: Doc, want: Doc, write: Callable[[Doc], Awaitable[T]]) -> T:
    """``write(want)``; where the site says 400, once more without the pairs that not every driver takes.

    ML2/OVN refuses a pair for a MAC that is neither the port's nor a virtual router's. The groups of the port must not
    wait for that: it admits less than the hub's port then, never more.
    """
    pairs = want.get("allowed_address_pairs") or []
    known = [p for p in pairs if p.get("mac_address") in (None, port["mac_address"]) or p["mac_address"].startswith(_VIRTUAL)]
    try:
        return await write(want)
    except Refused as e:
        if e.reply.status != 400 or len(known) == len(pairs):
            raise
        log.warning("allowed address pairs not taken here", site=site, port=port["id"], left_out=len(pairs) - len(known))
        return await write({**want, "allowed_address_pairs": known})
