"""East-west between sites: what of a router's subnets a site reaches only over its bridge network, and by which site. Pure.

A site's router leads to the networks that stand there by itself. To every other one leads the router of one site where it
stands: its home if it stands there, else the first by name, so that all sites agree without asking each other. Whether that site's
APIs answer makes no difference: packets do not go through them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

Route = dict[str, str]
"""Neutron's: ``destination`` and ``nexthop``."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """One of the router's."""

    network: str
    cidr: str

    @property
    def version(self) -> int:
        """Of IP."""
        return ipaddress.ip_network(self.cidr).version


def ways(
    where: Mapping[str, Set[str]], homes: Mapping[str, str | None], joined: Callable[[str, str], bool] = lambda one, two: True
) -> dict[str, dict[str, str]]:
    """Site -> network of the router that does not stand there -> the site whose router leads to it.

    ``where``: per network of the router the sites where it stands. ``homes``: each network's home, where it is known.
    ``joined``: whether frames get from one site to another; to a network that stands only where they do not, nothing leads.
    """
    found: dict[str, dict[str, str]] = {}
    for site in {s for sites in where.values() for s in sites}:
        near = {net: {s for s in sites if joined(site, s)} for net, sites in where.items() if site not in sites}
        far = {net: _by(sites, homes.get(net)) for net, sites in near.items() if sites}
        if far:
            found[site] = far
    return found


def _by(sites: Set[str], home: str | None) -> str:
    return home if home is not None and home in sites else min(sites)


def met(found: Mapping[str, Mapping[str, str]]) -> set[str]:
    """The sites that need an interface on the bridge: who goes over it, and to whom."""
    return found.keys() | {site for far in found.values() for site in far.values()}


def routes(
    own: Iterable[Route], subnets: Iterable[Subnet], far: Mapping[str, str], hops: Mapping[tuple[str, int], str]
) -> tuple[list[Route], list[Route]]:
    """A site's static routes: ``(those it must take, those of the tenant with a next hop on no subnet of the router)``.

    One per far subnet. The tenant's ``own`` stay as they are where the next hop's network stands in the site, and lead over
    the bridge to the site that knows the next hop where it does not. ``hops``: (site, IP version) -> its address on the bridge.
    """
    subnets = list(subnets)
    sure, other = [], []
    for route in own:
        hop = ipaddress.ip_address(route["nexthop"])
        at = next((s for s in subnets if hop in ipaddress.ip_network(s.cidr)), None)
        plain = {"destination": route["destination"], "nexthop": route["nexthop"]}
        if at is None:
            other.append(plain)
        elif at.network not in far:
            sure.append(plain)
        elif (over := hops.get((far[at.network], at.version))) is not None:
            sure.append({**plain, "nexthop": over})
    for subnet in subnets:
        over = hops.get((far[subnet.network], subnet.version)) if subnet.network in far else None
        if over is not None:
            sure.append({"destination": subnet.cidr, "nexthop": over})
    return [r for n, r in enumerate(sure) if r not in sure[:n]], other


def free(candidates: Iterable[str], taken: Iterable[str]) -> str | None:
    """The first of the ranges that overlaps with none of those taken."""
    used = [ipaddress.ip_network(t, strict=False) for t in taken]
    return next((c for c in candidates if not overlapping([c], used)), None)


def overlapping(ranges: Iterable[str], used: Iterable[str | ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether two of them share an address."""
    theirs = [ipaddress.ip_network(u, strict=False) for u in used]
    mine = [ipaddress.ip_network(r) for r in ranges]
    return any(a.version == b.version and a.overlaps(b) for a in mine for b in theirs)
