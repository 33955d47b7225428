"""Keystone north: everything passes to the hub; the catalogue names one cloud and no site (design review 5.6).

A token's catalogue keeps only the north region, and its URLs are the gateway's: a tenant's token that came from
a shared site's trust still shows no site. Administrators see the filtered catalogue too; endpoints and regions
themselves are readable only with Keystone's own administrator policies.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cascade.api.core import Core
from cascade.api.forward import from_hub
from cascade.api.request import Request, Response
from cascade.api.tokens import Tokens
from cascade.model.errors import BadReply
from cascade.model.reply import Reply


async def identity(core: Core, tokens: Tokens, req: Request, token: str | None) -> Response:
    """Pass one identity request through. Keystone judges the token, not we."""
    headers = dict(req.headers)
    if token is not None:
        headers["x-auth-token"] = token
    reply = await core.south.anonymous("hub", "identity", req.method, req.path, headers=headers, params=req.params, body=req.body)
    if req.method not in ("GET", "HEAD") and reply.ok and req.path != "/v3/auth/tokens":
        tokens.forget()  # roles, users, projects, credentials: what was believed may be wrong now
    if req.method == "DELETE" and req.path == "/v3/auth/tokens":
        tokens.forget(req.headers.get("x-subject-token"))
        tokens.forget(token)
    return from_hub(core, reply, filtered(core, reply) if reply.ok else None)


def filtered(core: Core, reply: Reply) -> bytes:
    """The body with its catalogue cut down, whatever path it came by (``/v3/auth/...``, ``/v3/ec2tokens``)."""
    if b'"catalog"' not in reply.body or "json" not in reply.headers.get("content-type", ""):
        return reply.body
    doc = reply.json()
    found = False
    for holder in (doc, doc.get("token")) if isinstance(doc, dict) else ():
        if isinstance(holder, dict) and isinstance(holder.get("catalog"), list):
            holder["catalog"], found = one_region(holder["catalog"], core.conf.region), True
    return msgspec.json.encode(doc) if found else reply.body


def one_region(catalog: list[Any], region: str) -> list[dict[str, Any]]:
    """The catalogue with only the endpoints of ``region``; services left with none are dropped."""
    out: list[dict[str, Any]] = []
    for service in catalog:
        if not isinstance(service, dict):
            raise BadReply("hub", "catalogue entry is not an object")
        endpoints = [e for e in service.get("endpoints", ()) if e.get("region_id", e.get("region")) == region]
        if endpoints:
            out.append({**service, "endpoints": endpoints})
    return out
