"""POST /os-server-external-events: each event goes to the site of its server, the answer is in the order asked.

https://docs.openstack.org/api-ref/compute/#create-external-events-os-server-external-events. The hub's Nova, which knows
none of the servers, says first whether the caller and the body are good.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from cascade.api.core import Core
from cascade.api.forward import from_hub, hub_reply
from cascade.api.request import Request, Response
from cascade.model.errors import NativeFault, SiteError
from cascade.routing import translate

log = structlog.get_logger(__name__)

_JUDGED = (200, 207)
"""What Nova says when it has only not found the servers."""
_NOT_READY = 422
"""Nova's code of an event whose server cannot take it now; its sender tries again."""
Doc = dict[str, Any]


async def external_events(core: Core, req: Request) -> Response:
    """Tell the sites, and put together what they say."""
    verdict = await hub_reply(core, req)
    if verdict.status not in _JUDGED:
        return from_hub(core, verdict)
    events: list[Doc] = req.json()["events"]
    done: list[Doc] = [{**e, "status": "failed", "code": 404} for e in events]
    places: dict[str, list[int]] = {}
    for number, event in enumerate(events):
        entry = await core.store.index.get("server", event["server_uuid"])
        if entry is not None:
            places.setdefault(entry.site, []).append(number)
    await asyncio.gather(*(_tell(core, req, site, numbers, done) for site, numbers in places.items()))
    return Response.of({"events": done}, 200 if all(e["code"] == 200 for e in done) else 207)


async def _tell(core: Core, req: Request, site: str, numbers: list[int], done: list[Doc]) -> None:
    events = [req.json()["events"][n] for n in numbers]
    codes = [_NOT_READY] * len(numbers)
    try:
        ids = await core.store.pairs.to_site(site, translate.tokens(events))
        doc = {"events": translate.rewrite(events, {k: p.site_id for k, p in ids.items()})}
        reply = await core.south.call(site, "compute", "POST", "/os-server-external-events", json=doc, version=req.version)
        codes = [int(e["code"]) for e in reply.expect(*_JUDGED).json()["events"]]
    except (SiteError, NativeFault) as e:
        log.info("events not delivered", site=site, error=str(e))
    for number, code in zip(numbers, codes, strict=True):
        done[number].update(code=code, status="completed" if code == 200 else "failed")
