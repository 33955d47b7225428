"""/os-assisted-volume-snapshots: at the site of the volume that the body, or ``delete_info`` of the query, names.

https://docs.openstack.org/api-ref/compute/#assisted-volume-snapshots-os-assisted-volume-snapshots
"""

from __future__ import annotations

import msgspec

from cascade.api.core import Core
from cascade.api.forward import from_site, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.api.zonal import locate


async def assisted_snapshots(core: Core, req: Request) -> Response:
    """Where no site's volume is named, the hub's Nova says what is wrong."""
    volume = _volume(req)
    entry = await locate(core, req, "volume", volume) if volume else None
    if entry is None:
        return await to_hub(core, req)
    return await from_site(core, req, entry.site, await site_reply(core, req, entry.site))


def _volume(req: Request) -> str | None:
    if req.method == "DELETE":
        try:
            doc = msgspec.json.decode(dict(req.params).get("delete_info", ""))
        except msgspec.DecodeError:
            return None
    else:
        doc = req.json()
        doc = doc.get("snapshot") if isinstance(doc, dict) else None
    found = doc.get("volume_id") if isinstance(doc, dict) else None
    return found if isinstance(found, str) else None
