"""What would clash if a site joined. Pure: documents in, plain rows out, for the joining report (design review 7.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cascade.model.site import Site
from cascade.sites.versions import Window, common, parse

Doc = Mapping[str, Any]

SHAPE = ("ram", "vcpus", "disk", "OS-FLV-EXT-DATA:ephemeral", "swap", "rxtx_factor", "os-flavor-access:is_public")
"""What Nova never lets anybody change in a flavor."""

_NOVA = (
    ("2.104", "2026.2"), ("2.103", "2026.1"), ("2.100", "2025.1 or 2025.2"), ("2.96", "2024.1 or 2024.2"),
    ("2.95", "2023.1 or 2023.2"), ("2.93", "Zed"), ("2.90", "Xena or Yoga"), ("2.88", "Wallaby"),
    ("2.87", "Ussuri or Victoria"), ("2.79", "Train"), ("2.72", "Stein"), ("2.65", "Rocky"), ("2.60", "Queens"),
    ("2.53", "Pike"), ("2.42", "Ocata"), ("2.38", "Newton"), ("2.25", "Mitaka"), ("2.12", "Liberty"), ("2.3", "Kilo"),
)  # fmt: skip


def release(highest: str) -> str:
    """The OpenStack release a Nova's highest microversion tells of; for people to read, nothing is decided by it."""
    found = next((name for version, name in _NOVA if parse(version) <= parse(highest)), None)
    if found is None:
        return "older than Kilo"
    exact = any(version == highest for version, _ in _NOVA)
    return found if exact else f"newer than {found}"


def window(service: str, site: Window | None, cloud: Window) -> dict[str, Any]:
    """The cloud's microversion window of a service now and with the site in it. ``then`` is None where nothing is left."""
    then = common([cloud, site]) if site is not None else cloud
    return {
        "service": service, "site": site, "now": cloud, "then": then,
        "shrinks": then is None or (parse(then[0]), parse(then[1])) != (parse(cloud[0]), parse(cloud[1])),
    }  # fmt: skip


def flavors(hub: Sequence[Doc], site: Sequence[Doc]) -> dict[str, list[dict[str, Any]]]:
    """``adopted``: same id and shape at both; ``conflicts``: same id, another shape (a boot with it fails at this site),
    or the name is taken by another id (the copy gets a private name)."""
    by_id = {f["id"]: f for f in site}
    by_name = {f["name"]: f for f in site}
    adopted: list[dict[str, Any]] = []
    conflicts: list[dict[str, Any]] = []
    for want in hub:
        have = by_id.get(want["id"])
        if have is not None:
            differs = [k for k in SHAPE if (have.get(k) or 0) != (want.get(k) or 0)]
            row = {"id": want["id"], "name": want["name"]}
            if not differs:
                adopted.append(row)
            else:
                how = {k: {"hub": want.get(k), "site": have.get(k)} for k in differs}
                conflicts.append({**row, "kind": "same id, other shape", "differs": how})
        elif want["name"] in by_name:
            other = by_name[want["name"]]["id"]
            conflicts.append({"id": want["id"], "name": want["name"], "kind": "same name, other id", "site_id": other})
    return {"adopted": adopted, "conflicts": conflicts}


def volume_types(hub: Sequence[Doc], site: Sequence[Doc]) -> dict[str, list[str]]:
    """Types are paired by name: Cinder picks the id."""
    ours, theirs = {t["name"] for t in hub}, {t["name"] for t in site}
    return {"paired": sorted(ours & theirs), "made": sorted(ours - theirs), "only_at_site": sorted(theirs - ours)}


def zones(site: Site, found: Collection[str], others: Mapping[str, str]) -> dict[str, Any]:
    """``found``: the site's own zone names. ``others``: north zone -> site, of the sites already there.

    A north zone of two sites would be ambiguous to every tenant.
    """
    default = site.default_zone
    north = {z: site.name if z == default else site.zones.get(z, z) for z in sorted(found) if z != "internal"}
    taken = {name: whose for name, whose in others.items() if whose != site.name}
    clashes = [{"zone": z, "north": n, "site": taken[n]} for z, n in north.items() if n in taken]
    if site.name in taken and not any(c["north"] == site.name for c in clashes):
        clashes.append({"zone": default, "north": site.name, "site": taken[site.name]})
    same = [z for z, n in north.items() if z != default and n == site.name]
    clashes += [{"zone": z, "north": site.name, "site": site.name} for z in same]
    return {"default": default, "default_found": default in found, "north": north, "clashes": clashes}
