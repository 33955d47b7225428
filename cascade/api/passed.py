"""Services Cascade only stands in front of: nothing is validated or translated here, links alone become the gateway's."""

from __future__ import annotations

from cascade.api.core import Core
from cascade.api.forward import from_hub
from cascade.api.request import Request, Response
from cascade.model.errors import Fault
from cascade.model.site import HUB


async def passed(core: Core, req: Request, token: str | None) -> Response:
    """The service answers, in whatever words it has for a bad token. Raises Fault 404 where the cloud has no such service."""
    offered = core.south.base_urls(HUB)
    if offered and req.service not in offered:
        raise Fault(404, f"This cloud has no {req.service} service.")
    headers = req.headers if token is None else {**req.headers, "x-auth-token": token}
    reply = await core.south.anonymous(
        HUB, req.service, req.method, req.path, headers=headers, params=req.params, body=req.body, rooted=True
    )
    return from_hub(core, reply)
