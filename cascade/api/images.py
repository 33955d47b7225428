"""Glance north: the hub answers everything, with the caller's token. Data streams; writes are told to the replicas."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import unquote

from cascade.api.app import Handler
from cascade.api.core import Core
from cascade.api.forward import from_hub, hub_reply, to_hub
from cascade.api.request import Request, Response
from cascade.model.errors import Fault
from cascade.model.reply import Reply
from cascade.model.site import HUB
from cascade.reconcile.imagedoc import HIDDEN
from cascade.sites.transport import StreamReply


async def image_download(core: Core, req: Request) -> Response:
    """GET /v2/images/{id}/file: a chunk at a time, as fast as the client takes it."""
    stack = AsyncExitStack()
    reply: StreamReply = await stack.enter_async_context(
        core.south.stream(HUB, "image", "GET", req.path, as_=req.caller, headers=req.headers, params=req.params)
    )
    if reply.status not in (200, 206):
        async with stack:
            return from_hub(core, Reply(HUB, reply.status, reply.headers, await reply.read()))
    answer = Response.passed(Reply(HUB, reply.status, reply.headers, b""))
    if "content-length" in reply.headers:
        answer.headers["content-length"] = reply.headers["content-length"]
    answer.stream, answer.release = reply.chunks(), stack.aclose
    return answer


async def image_upload(core: Core, req: Request) -> Response:
    """PUT of data (``file`` or ``stage``): passed on as it arrives, never held."""
    if req.stream is None:
        reply = await hub_reply(core, req)
    else:
        async with core.south.stream(
            HUB, "image", "PUT", req.path, as_=req.caller, headers=req.headers, params=req.params, data=req.stream
        ) as answer:
            reply = Reply(HUB, answer.status, answer.headers, await answer.read())
    if reply.ok and req.path.endswith("/file") and req.caller.project_id is not None:
        await core.images.prefetch(req.match["id"], req.caller.project_id)
    return from_hub(core, reply)


async def image_write(core: Core, req: Request) -> Response:
    """Create, change, delete, deactivate, share, tag: the hub judges and does it, replicas follow."""
    if (name := _reserved(req)) is not None:
        raise Fault(403, f"Attribute '{name}' is reserved.")
    if req.stream is not None:  # not JSON: Glance says so without the body
        return await to_hub(core, req)
    reply = await hub_reply(core, req)
    if reply.ok and "id" in req.match:
        whole = req.method == "DELETE" and req.match.keys() == {"id"}
        await core.images.changed(req.match["id"], deleted=whole)
    return from_hub(core, reply)


def _reserved(req: Request) -> str | None:
    """A property or tag that only Cascade may use, if the request writes one: copies are recognised by them."""
    doc: Any = req.json()
    names: list[Any] = [unquote(req.match.get("tag", ""))]
    if isinstance(doc, dict):
        names += [*doc, *_list(doc.get("tags"))]
    for operation in _list(doc):
        if isinstance(operation, dict):
            names += [v.strip("/").partition("/")[0] for v in operation.values() if isinstance(v, str) and v.startswith("/")]
            names += _list(operation.get("value"))
    return next((n for n in names if isinstance(n, str) and n.startswith(HIDDEN)), None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


HANDLERS: dict[str, Handler] = {
    "image_download": image_download,
    "image_upload": image_upload,
    "image_write": image_write,
}
