"""How a site's Gnocchi is asked: as any service (``forward``), and what is particular to measures besides.

Searches are narrowed to this cloud's projects for who would see others' (``metering_owners``), and the project of the site's
Ceilometer stands for the cloud's own service project, both ways (``measurer``).
"""

from __future__ import annotations

from typing import Any

from cascade.api import forward, measurer, metering_owners
from cascade.api.core import Core
from cascade.api.request import Params, Request, Response
from cascade.model.caller import Caller
from cascade.model.reply import Reply


async def site_reply(
    core: Core, req: Request, site: str, *, doc: Any = None, params: Params | None = None, path: str | None = None,
    timeout: float | None = None,
) -> Reply:  # fmt: skip
    """``forward.site_reply``. Raises Fault 400 for a search that cannot be narrowed, too."""
    if doc is None and req.body:
        doc = req.json()
    doc, params = await metering_owners.narrowed(core, req, site, doc, req.params if params is None else params)
    doc = await measurer.south(core, site, doc)
    return await forward.site_reply(core, req, site, doc=doc, params=params, path=path, timeout=timeout)


async def from_site(core: Core, req: Request, site: str, reply: Reply) -> Response:
    """``forward.from_site``."""
    return await forward.from_site(core, req, site, reply, known=await measurer.north(core, site))


async def north_doc(core: Core, site: str, doc: Any, caller: Caller, service: str) -> Any:
    """``forward.north_doc``."""
    return await forward.north_doc(core, site, doc, caller, service, known=await measurer.north(core, site))
