"""Keystone north: everything passes to the hub; the catalogue names one cloud and no site (design review 5.6).

A token's catalogue keeps only the north region, and its URLs are the gateway's: a tenant's token that came from
a shared site's trust still shows no site. Administrators see the filtered catalogue too; endpoints and regions
themselves are readable only with Keystone's own administrator policies.
"""

from __future__ import annotations

from typing import Any

from cascade.api.core import Core
from cascade.api.links import north_links
from cascade.api.request import Request, Response
from cascade.api.tokens import Tokens
from cascade.model.errors import BadReply


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
    body = reply.body
    if reply.ok and body:
        body = _filtered(core, req, reply.json() if b"json" in reply.headers.get("content-type", "").encode() else None, body)
    answer = Response.passed(reply, north_links(core, "hub", body))
    for name in ("location", "www-authenticate"):
        if name in answer.headers:
            answer.headers[name] = north_links(core, "hub", answer.headers[name].encode()).decode()
    return answer


def _filtered(core: Core, req: Request, doc: Any, body: bytes) -> bytes:
    import msgspec

    if not isinstance(doc, dict):
        return body
    token = doc.get("token")
    holder = token if isinstance(token, dict) and "catalog" in token else doc
    catalog = holder.get("catalog")
    if req.path.startswith("/v3/auth/") and isinstance(catalog, list):
        holder["catalog"] = one_region(catalog, core.conf.region)
        return msgspec.json.encode(doc)
    return body


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
