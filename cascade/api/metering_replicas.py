"""Archive policies, their rules and resource types: the same in every metered site, because a metric may be made in any."""

from __future__ import annotations

import asyncio

import structlog

from cascade.api.core import Core
from cascade.api.metering import any_site, away
from cascade.api.metering_calls import from_site, site_reply
from cascade.api.request import Request, Response
from cascade.model.errors import SiteError
from cascade.model.reply import Reply
from cascade.reconcile.metering import DONE, catch_up, note

log = structlog.get_logger(__name__)


async def replicated(core: Core, req: Request) -> Response:
    """A write of one kind that is the same everywhere: refused where any site refuses it for more than having it already."""
    metered = [n for n in core.sites.names() if "metric" in (core.south.base_urls(n) or {"metric": ""})]
    up = [n for n in metered if core.sites.usable(n) and core.sites.health.allows(n, "metric")]
    if not up:
        return await any_site(core, req)
    replies = await asyncio.gather(*(_write(core, req, name) for name in up))
    answers = {n: r for n, r in zip(up, replies, strict=True) if r is not None}
    if not answers:
        raise away(up)
    good = [n for n, r in answers.items() if r.ok]
    refused = [n for n, r in answers.items() if not r.ok and r.status not in DONE]
    if good and not refused:
        for site in (n for n in metered if n not in answers):
            await note(core.store, site, req.method, req.path, req.json())
    site = (refused or good or list(answers))[0]
    return await from_site(core, req, site, answers[site])


async def _write(core: Core, req: Request, site: str) -> Reply | None:
    try:
        await catch_up(core.store, core.south, site, always=True)
        return await site_reply(core, req, site)
    except SiteError as e:
        log.info("not written at a site", site=site, path=req.path, error=str(e))
        return None
