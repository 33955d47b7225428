"""Zone hints of networks and routers. An agentless Neutron refuses them, so they live in tags of the hub's object that
nobody sees, and are put back into its documents (design review 2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from cascade.api.core import Core
from cascade.api.zones import zone_sites
from cascade.model.errors import Fault
from cascade.reconcile.net.span import ZONE_TAG, zone_hints

HINTS, ZONES = "availability_zone_hints", "availability_zones"
ZONED = {"network": "networks", "router": "routers"}
"""Kinds that have hints -> their collection's path."""


def take(core: Core, row: dict[str, Any]) -> list[str] | None:
    """The hints out of a request's document; None where there are none, or what is there is for the hub to refuse.

    Raises Neutron's own 404 for a zone that does not exist.
    """
    hints = row.get(HINTS)
    if not isinstance(hints, list) or not all(isinstance(h, str) and 0 < len(h) <= 255 for h in hints):
        return None
    if len(set(hints)) != len(hints):
        return None
    known = zone_sites(core)
    for hint in hints:
        if hint not in known:
            raise Fault(404, f"AvailabilityZone {hint} could not be found.", kind="AvailabilityZoneNotFound")
    del row[HINTS]
    return hints


def tags_of(hints: Iterable[str]) -> list[str]:
    """The tags that keep these hints."""
    return [f"{ZONE_TAG}{n}={zone}" for n, zone in enumerate(hints)]


def ours(tag: object) -> bool:
    """Whether a tag is one of these."""
    return isinstance(tag, str) and tag.startswith(ZONE_TAG)


def refuse_ours(tags: Iterable[object]) -> None:
    """Raises Fault 400 where a client would write one of these itself."""
    if (own := next((t for t in tags if ours(t)), None)) is not None:
        raise Fault(400, f"Invalid input for tags. Reason: '{own}' is reserved.", kind="HTTPBadRequest")


async def keep(core: Core, kind: str, ident: str, tags: Iterable[str], *, instead_of: Iterable[str] = ()) -> None:
    """Write hint tags, by the service account; ``instead_of`` go."""
    path, new = f"/v2.0/{ZONED[kind]}/{ident}/tags", list(tags)
    for tag in instead_of:
        if tag not in new:
            (await core.south.call("hub", "network", "DELETE", f"{path}/{quote(tag, safe='')}")).expect(204, 404)
    for tag in new:
        (await core.south.call("hub", "network", "PUT", f"{path}/{quote(tag, safe='')}")).expect(201, 404)


async def overlay(core: Core, kind: str, rows: list[dict[str, Any]]) -> None:
    """Hints and zones into documents, our tags out of them, in place."""
    where: dict[str, set[str]] = {}
    if any(ZONES in r for r in rows):
        for pair in await core.store.pairs.copies(kind, [r["id"] for r in rows if "id" in r]):
            where.setdefault(pair.hub_id, set()).add(pair.site)
    for row in rows:
        tags = row.get("tags")
        if HINTS in row and isinstance(tags, list):
            row[HINTS] = zone_hints(t for t in tags if isinstance(t, str))
        if isinstance(tags, list):
            row["tags"] = [t for t in tags if not ours(t)]
        if ZONES in row:
            row[ZONES] = sorted(where.get(row.get("id", ""), ()))
