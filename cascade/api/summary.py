"""Volumes counted over all sites: ``GET /volumes/summary`` of the Block Storage API v3."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from cascade.api.aggregate import gather, said
from cascade.api.core import Core
from cascade.api.forward import north_ids, site_reply
from cascade.api.request import Request, Response
from cascade.model.errors import BadReply, SiteError
from cascade.routing.bodies import STAMP_KEY, is_stamp
from cascade.routing.rows import owner_of
from cascade.sites.versions import at_least

_PAGE = 1000
"""Rows asked for; a site gives fewer where its own limit is lower."""
_PAGES = 200
"""Pages of one site's list read for one answer: it counts as missing beyond them."""


async def volume_summary(core: Core, req: Request) -> Response:
    """Counts and sizes add up, metadata values are joined.

    Of all projects, a mapped site's own sum has in it what belongs to tenants of its owner, and Cinder leaves its filters out
    of account there: so such a site's volumes are counted one by one. That is dear, and an administrator's wish alone.
    """
    every = req.caller.is_admin and req.true("all_tenants")
    at = await core.store.index.sites_of(None, None if req.caller.is_admin else req.caller.project_id)
    found, missing, refusal = await gather(core, req, sites=sorted(at & set(core.sites.names())))
    if refusal is not None:
        return refusal
    sums = {site: doc["volume-summary"] for site, doc in found.items()}
    if every:
        mapped = [site for site in sums if core.sites.get(site).identity == "mapped"]
        counted = await asyncio.gather(*(_counted(core, req, site) for site in mapped), return_exceptions=True)
        for site, own in zip(mapped, counted, strict=True):
            if isinstance(own, dict):
                sums[site] = own
            elif isinstance(own, SiteError):
                del sums[site]
                missing = sorted([*missing, site])
            else:
                raise own
    return Response.of(
        {"volume-summary": _total(sums.values(), metadata=at_least(req.version, "3.36"))}, headers=said(missing, req)
    )


def _total(sums: Iterable[dict[str, Any]], *, metadata: bool) -> dict[str, Any]:
    total: dict[str, Any] = {"total_size": 0, "total_count": 0}
    values: dict[str, set[str]] = {}
    for one in sums:
        total["total_size"] += one["total_size"]
        total["total_count"] += one["total_count"]
        for key, some in one.get("metadata", {}).items():
            if shown := [value for value in some if key != STAMP_KEY or not is_stamp(value)]:
                values.setdefault(key, set()).update(shown)
    if metadata:
        total["metadata"] = {key: sorted(some) for key, some in values.items()}
    return total


async def _counted(core: Core, req: Request, site: str) -> dict[str, Any]:
    """The summary of those of a site's volumes that belong to projects of this cloud. Raises SiteError."""
    own: dict[str, Any] = {"total_size": 0, "total_count": 0, "metadata": {}}
    after: list[tuple[str, str]] = []
    for _ in range(_PAGES):
        params = [("all_tenants", "1"), ("limit", str(_PAGE)), ("sort", "created_at:desc"), *after]
        doc = (await site_reply(core, req, site, path="/volumes/detail", params=params)).expect(200).json()
        rows = doc["volumes"]
        shadows = await core.store.pairs.to_hub(site, {owner for row in rows if (owner := owner_of(row))})
        for row in rows:
            if owner_of(row) in shadows:
                own["total_size"] += row["size"]
                own["total_count"] += 1
                for key, value in row["metadata"].items():
                    own["metadata"].setdefault(key, set()).add(value)
        if not rows or not doc.get("volumes_links"):
            return own
        last = rows[-1]["id"]
        after = [("marker", (await north_ids(core, site, [last], req.caller)).get(last, last))]
    raise BadReply(site, "its list of volumes does not come to an end")
