"""Choosing the site: pure. An AZ named; else the site of anything zonal named; else the project's home site."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """Where, and why (for the log and for ``explain``)."""

    site: str
    why: str


class NoSuchZone(Exception):
    """The zone named is nobody's."""


class TwoSites(Exception):
    """Things of two sites are named in one request; Nova itself refuses that (design review 1.2)."""


class Nowhere(Exception):
    """No eligible site."""


def choose(
    *,
    zone: str | None,
    zones: Mapping[str, str],
    named: Mapping[str, str],
    home: str | None,
    project_id: str,
    eligible: Collection[str],
) -> Choice:
    """The site of a create.

    ``zones``: north zone -> site. ``named``: zonal id in the request -> its site. ``home``: where the project already
    has things, or what the operator set. ``eligible``: sites that may take new things now.
    Raises NoSuchZone, TwoSites, Nowhere.
    """
    sites = set(named.values())
    if zone is not None:
        if zone not in zones:
            raise NoSuchZone(zone)
        sites.add(zones[zone])
    if len(sites) > 1:
        raise TwoSites(", ".join(sorted(sites)))
    if sites:
        site = sites.pop()
        # A full, draining or dead site is the caller's explicit wish: the fault is about that site, not about choice.
        return Choice(site, "zone" if zone is not None else "named")
    if home is not None:
        # Never left silently: a server and a volume made without a zone must meet (design review 1.1).
        return Choice(home, "home")
    if not eligible:
        raise Nowhere
    return Choice(rendezvous(project_id, eligible), "hash")


def rendezvous(key: str, sites: Collection[str]) -> str:
    """Highest-random-weight hash: each project has one home, and a new site moves only its own share."""
    return ranked(key, sites)[0]


def ranked(key: str, sites: Collection[str]) -> list[str]:
    """The sites in the order in which ``rendezvous`` would take them if those before were not there."""
    return sorted(sites, key=lambda s: (hashlib.sha256(f"{key}/{s}".encode()).digest(), s), reverse=True)
