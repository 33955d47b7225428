"""Archive policies, their rules and resource types: what a metered site missed while it was away.

A write goes to all sites that are up, and stands in the journal of each that is not, to be made there before the site is asked
for anything else. There is no copy at the hub: the sites have it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from cascade.sites.south import South
    from cascade.store import Store

log = structlog.get_logger(__name__)

LOOKED = 20.0
"""Seconds between two looks into a site's journal: as long as changed site rows take to be seen."""
DONE = frozenset({404, 409})
"""Refusals of a late write that mean: it is so already."""

_looked: dict[str, float] = {}


def journal(site: str) -> str:
    """Key of the writes a site has missed."""
    return f"metering/missed/{site}"


async def note(store: Store, site: str, method: str, path: str, doc: Any) -> None:
    """A site has missed a write that another one took."""
    missed: list[dict[str, Any]] = await store.docs.get(journal(site)) or []
    await store.docs.put(journal(site), [*missed, {"method": method, "path": path, "doc": doc}])
    _looked.pop(site, None)


async def catch_up(store: Store, south: South, site: str, *, always: bool = False) -> None:
    """Make a site's missed writes there, in their order, with the service account. Raises SiteError where it fails again."""
    now = time.monotonic()
    if not always and now - _looked.get(site, -LOOKED) < LOOKED:
        return
    missed = await store.docs.get(journal(site))
    for one in missed or ():
        reply = await south.call(site, "metric", one["method"], one["path"], json=one["doc"])
        if not reply.ok and reply.status not in DONE:
            log.error("a site refuses what the others took", site=site, path=one["path"], status=reply.status)
    if missed:
        await store.docs.drop(journal(site))
        log.info("caught up", site=site, writes=len(missed))
    _looked[site] = now
