"""One request to one target, and its answer on the way back: ids, zones, hosts and links in both directions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from cascade.api.core import Core
from cascade.api.links import north_links, url_words
from cascade.api.request import Params, Request, Response
from cascade.model.caller import Caller
from cascade.model.errors import BadReply
from cascade.model.reply import Reply
from cascade.routing import bodies, translate

_NOT_SOUTH = ("openstack-api-version", "x-openstack-nova-api-version")


async def to_hub(core: Core, req: Request, *, body: bytes | None = None, params: Params | None = None) -> Response:
    """The hub's real service answers with the caller's own token."""
    reply = await hub_reply(core, req, body=body, params=params)
    return from_hub(core, reply)


async def hub_reply(core: Core, req: Request, *, body: bytes | None = None, params: Params | None = None) -> Reply:
    """The hub's bare answer."""
    headers = {k: v for k, v in req.headers.items() if req.version is None or k not in _NOT_SOUTH}
    return await core.south.call(
        "hub", req.service, req.method, req.path, as_=req.caller, params=req.params if params is None else params,
        body=req.body if body is None else body, headers=headers, version=req.version,
    )  # fmt: skip


def from_hub(core: Core, reply: Reply, body: bytes | None = None) -> Response:
    """A hub answer with north links."""
    answer = Response.passed(reply, north_links(core, "hub", reply.body if body is None else body))
    for name in ("location", "www-authenticate"):
        if name in answer.headers:
            answer.headers[name] = north_links(core, "hub", answer.headers[name].encode()).decode()
    return answer


async def to_site(
    core: Core, req: Request, site: str, *, doc: Any = None, params: Params | None = None, path: str | None = None
) -> Response:
    """Forward to a site as the caller, translated both ways."""
    reply = await site_reply(core, req, site, doc=doc, params=params, path=path)
    return await from_site(core, req, site, reply)


async def site_reply(
    core: Core,
    req: Request,
    site: str,
    *,
    doc: Any = None,
    params: Params | None = None,
    path: str | None = None,
    version: str | None = None,
    known: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Reply:
    """The site's bare answer. ``doc`` replaces the body; ``known`` adds id pairs the caller was shown to own.

    Raises BadReply for a success that no OpenStack service says so.
    """
    path = req.path if path is None else path
    params = req.params if params is None else params
    raw: bytes = req.body
    if doc is None and raw and (decoded := req.json()) is not None:
        doc = decoded
    ids = translate.tokens_text(path) | translate.tokens_params(params)
    if doc is not None:
        ids |= translate.tokens(doc)
    mapping = {**(await south_ids(core, site, ids, req.caller) if ids else {}), **(known or {})}
    where = core.sites.get(site)
    if mapping:
        path = translate.rewrite_text(path, mapping)
        params = translate.rewrite_params(params, mapping)
    if doc is not None:
        doc = bodies.to_south(translate.rewrite(doc, mapping), site=where, service=req.service)
        raw = msgspec.json.encode(doc)
    params = bodies.params_to_south(params, site=where, service=req.service)
    headers = {k: v for k, v in req.headers.items() if (req.version or version) is None or k not in _NOT_SOUTH}
    reply = await core.south.call(
        site, req.service, req.method, path, as_=req.caller, params=params, body=raw, headers=headers,
        version=version or req.version, timeout=timeout,
    )  # fmt: skip
    if reply.ok and reply.body and reply.headers.get("content-type", "").startswith("text/"):
        raise BadReply(site, "a page where a document is due")  # a proxy's, or a stranger's: nothing for a tenant to see
    return reply


async def from_site(
    core: Core, req: Request, site: str, reply: Reply, *, ints: Collection[str] = (), known: Mapping[str, str] | None = None,
    encode: Callable[[Any], bytes] = msgspec.json.encode,
) -> Response:  # fmt: skip
    """A site's answer made north. ``ints``, ``known``: as of ``north_doc``; ``encode``: how a document is written."""
    if req.row is not None and req.row.raw:
        return Response.passed(reply)
    doc = _document(reply) if "json" in reply.headers.get("content-type", "") and reply.body else None
    if doc is not None:
        doc = await north_doc(core, site, doc, req.caller, req.service, ints=ints, known=known)
        answer = Response.passed(reply, encode(doc))
    else:
        mapping = await north_ids(core, site, translate.tokens_text(reply.body), req.caller)
        answer = Response.passed(reply, translate.rewrite_text(north_links(core, site, reply.body), mapping))
    for name in ("location", "www-authenticate"):
        if name in answer.headers:
            value = north_links(core, site, answer.headers[name].encode()).decode()
            mapping = await north_ids(core, site, translate.tokens_text(value), req.caller)
            answer.headers[name] = translate.rewrite_text(value, mapping)
    return answer


def _document(reply: Reply) -> Any:
    """The decoded document of an answer, None where it is not to be decoded. Raises BadReply for a success that cannot.

    A refusal quotes what it refuses, halves of characters included, and is passed on as text then.
    """
    try:
        return reply.json()
    except BadReply:
        if reply.ok:
            raise
        return None


async def north_doc(
    core: Core, site: str, doc: Any, caller: Caller, service: str, *, ints: Collection[str] = (),
    known: Mapping[str, str] | None = None,
) -> Any:  # fmt: skip
    """A decoded site document in north terms. ``ints``: keys that hold integer ids of the site; ``known``: further id pairs."""
    mapping = {**await north_ids(core, site, translate.tokens(doc), caller), **(known or {})}
    urls = url_words(core, site)
    return bodies.to_north(translate.rewrite(doc, mapping), site=core.sites.get(site), service=service, urls=urls, ints=ints)


async def south_ids(core: Core, site: str, ids: Iterable[str], caller: Caller) -> dict[str, str]:
    """north id -> site id, of the pairs the caller's project may name (R3.6: no confused deputy)."""
    found = await core.store.pairs.to_site(site, list(ids)) if ids else {}
    return {k: p.site_id for k, p in found.items() if p.site_id != k and _may_name(p.project_id, caller)}


async def north_ids(core: Core, site: str, ids: Iterable[str], caller: Caller) -> dict[str, str]:
    """site id -> north id."""
    found = await core.store.pairs.to_hub(site, list(ids)) if ids else {}
    return {k: p.hub_id for k, p in found.items() if p.hub_id != k}


def _may_name(owner: str | None, caller: Caller) -> bool:
    return owner is None or owner == caller.project_id or caller.is_admin
