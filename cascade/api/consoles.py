"""Consoles: a site's answer names its console address, which no tenant may see; there is no relay yet.

The site judges the request all the same, so every other refusal is its own.
"""

from __future__ import annotations

from cascade.api.core import Core
from cascade.api.forward import to_hub
from cascade.api.request import Request, Response
from cascade.api.zonal import at_site, locate
from cascade.model.errors import Fault
from cascade.store.index import IndexEntry

ACTIONS = {
    "os-getVNCConsole": "novnc", "os-getSPICEConsole": "spice-html5", "os-getRDPConsole": "rdp-html5",
    "os-getSerialConsole": "serial",
    "os-getMKSConsole": "webmks",
}  # fmt: skip
"""The actions below microversion 2.6, and the type each means where its body names none."""


async def remote_console(core: Core, req: Request) -> Response:
    """POST /servers/{id}/remote-consoles."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    what = doc.get("remote_console") if isinstance(doc, dict) else None
    return await console(core, req, entry, str(what.get("type")) if isinstance(what, dict) else "")


async def console(core: Core, req: Request, entry: IndexEntry, kind: str) -> Response:
    """The site's refusal, or Nova's own for a console type that is not there."""
    answer = await at_site(core, req, entry)
    if answer.status < 300:
        raise Fault(400, f"Unavailable console type {kind}.")
    return answer
