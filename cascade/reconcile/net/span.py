"""In which sites a network may stand: in one if its zone hints say so, else wherever the sites are joined by one interconnect."""

from __future__ import annotations

from collections.abc import Iterable

from cascade.model.errors import Fault
from cascade.model.site import HUB
from cascade.reconcile.net.replica import NETWORK, Doc, Replicas
from cascade.sites.registry import Sites

ZONE_TAG = "cascade.az."
"""Prefix of the hub tags that keep a network's or router's zone hints, in their order: ``cascade.az.0=paris`` (R2.1)."""


def zone_hints(tags: Iterable[str]) -> list[str]:
    """The zone hints kept in an object's tags, in their order."""
    pairs = (t[len(ZONE_TAG) :].partition("=") for t in tags if t.startswith(ZONE_TAG))
    return [zone for _, zone in sorted((int(n) if n.isdigit() else 0, zone) for n, _, zone in pairs)]


def hinted(sites: Sites, row: Doc) -> list[str]:
    """The sites that an object's zone hints mean, in their order; further zones of a site only where the operator named them."""
    found = []
    for zone in zone_hints(row.get("tags") or ()):
        found += [n for n in sites.names() if zone == n or zone in sites.get(n).zones.values()]
    return list(dict.fromkeys(found))


def alone(sites: Sites, net: Doc) -> str | None:
    """The one site a network stays in, on that site's own overlay; None for one that may span."""
    if net.get("router:external"):
        return None
    found = hinted(sites, net)
    return found[0] if len(found) == 1 and len(zone_hints(net.get("tags") or ())) == 1 else None


def joined(sites: Sites, one: str, two: str) -> bool:
    """Whether frames can get from one site to the other."""
    ways = [sites.get(s).options.get("interconnect", "wan") for s in (one, two)]
    return one == two or (ways[0] == ways[1] != "none")


class Span:
    """``admit`` before a network's first port in a site."""

    def __init__(self, replicas: Replicas, sites: Sites) -> None:
        self._r, self._sites = replicas, sites

    async def admit(self, site: str, net: Doc) -> None:
        """Raises Fault 409 where the network cannot stand in this site.

        Who comes first to a network that cannot be everywhere decides where it can: written down before it stands there.
        """
        if await self.judge(site, net):
            return
        names = self._sites.names()
        docs, key = self._r.store.docs, _claim(net["id"])
        async with self._r.alone(HUB, "span", net["id"]):
            first = await docs.get(key)
            if first == site or (first in names and joined(self._sites, str(first), site)):
                return
            await self.judge(site, net)  # again: another may have been first
            await docs.put(key, site)

    async def judge(self, site: str, net: Doc) -> bool:
        """Whether the network may stand here whoever comes first. Raises Fault 409 where it cannot, as it stands now."""
        home = alone(self._sites, net)
        if home not in (None, site):
            text = f"Network {net['id']} stays in availability zone {home}, which its hints name: no port of it can be in {site}."
            raise Fault(409, text)
        names = self._sites.names()
        if home == site or all(joined(self._sites, site, other) for other in names):
            return True
        stands = [s for s in await self._r.sites_of(NETWORK, net["id"]) if s in names and not joined(self._sites, s, site)]
        if stands:
            text = f"Network {net['id']} is in availability zone {min(stands)}, and nothing joins networks there with {site}."
            raise Fault(409, text)
        return False

    async def forget(self, hub_id: str) -> None:
        """The network is gone."""
        await self._r.store.docs.drop(_claim(hub_id))


def _claim(network: str) -> str:
    return f"network.span/{network}"
