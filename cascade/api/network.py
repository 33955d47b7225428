"""Neutron north: the hub answers everything with the caller's own token; what it cannot know is put in, and copies follow."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from cascade.api import network_hints as hints
from cascade.api import network_state as state
from cascade.api.aggregate import any_site, concatenated
from cascade.api.app import Handler
from cascade.api.core import Core
from cascade.api.forward import from_hub, hub_reply, to_hub
from cascade.api.request import Params, Request, Response
from cascade.api.zones import zone_sites
from cascade.model.errors import Fault
from cascade.model.reply import Reply

Doc = dict[str, Any]
_PAGE = ("marker", "page_reverse")


async def network_read(core: Core, req: Request) -> Response:
    """GET of a list or one thing: the hub's rows, with what sites know."""
    assert req.row is not None
    kind = req.row.resource
    view = _View(kind, req.params)
    reply = await hub_reply(core, req, params=view.params)
    doc = reply.json() if reply.status == 200 else None
    rows = _rows(doc, req.row.collection)
    if doc is None or rows is None:
        return from_hub(core, reply)
    await _overlay(core, kind, rows)
    view.narrow(doc, req.row.collection)
    return from_hub(core, reply, msgspec.json.encode(doc))


async def network_create(core: Core, req: Request) -> Response:
    """POST, one or many. Zone hints are taken out before and kept after; what the new things belong to follows."""
    assert req.row is not None
    kind, collection = req.row.resource, req.row.collection
    doc = req.json()
    rows = _rows(doc, collection) or []
    if kind in hints.ZONED:
        hints.refuse_ours(t for r in rows for t in _list(r.get("tags")))
    kept = [hints.take(core, r) for r in rows] if kind in hints.ZONED else []
    keys = sorted({key for key in (_parent(kind, r) for r in rows) if key is not None})
    body = msgspec.json.encode(doc) if any(k is not None for k in kept) else None
    reply = await _judged(core, req, keys, body=body)
    made = reply.json() if reply.ok else None
    done = _rows(made, collection)
    if done is None:
        return from_hub(core, reply)
    await _keep_hints(core, req, kind, done, kept)
    await _overlay(core, kind, done)
    return from_hub(core, reply, msgspec.json.encode(made))


async def network_write(core: Core, req: Request) -> Response:
    """PUT, DELETE and the verbs below a thing (``add_router_interface``): copies follow what the hub accepted."""
    assert req.row is not None
    kind, ident = req.row.resource, req.match["id"]
    key: tuple[str, str] | None = (kind, ident)
    if kind == "security_group_rule":
        key = await _group_of(core, req, ident)
    doc = req.json()
    rows = _rows(doc, req.row.collection) or []
    wanted = hints.take(core, rows[0]) if kind == "router" and req.method == "PUT" and len(rows) == 1 else None
    body = msgspec.json.encode(doc) if wanted is not None else None
    reply = await _judged(core, req, [key] if key else [], body=body)
    if not reply.ok:
        return from_hub(core, reply)
    made = reply.json() if req.method == "PUT" else None
    done = _rows(made, req.row.collection) if req.row.collection else None
    if done is None:
        return from_hub(core, reply)
    if wanted is not None:
        await _keep_hints(core, req, kind, done, [wanted])
    await _overlay(core, kind, done)
    return from_hub(core, reply, msgspec.json.encode(made))


async def network_tags(core: Core, req: Request) -> Response:
    """Tags of what takes zone hints: ours are neither seen nor lost."""
    assert req.row is not None
    kind, ident, one = req.row.resource, req.match["id"], req.match["rest"].strip("/")
    if one:
        if hints.ours(one):
            raise Fault(404, f"Tag {one} could not be found.", kind="TagNotFound")
        return await to_hub(core, req)
    asked = req.json()
    hints.refuse_ours(_list(asked.get("tags")) if isinstance(asked, dict) else ())
    reply = await core.south.call("hub", "network", "GET", req.path) if req.method in ("PUT", "DELETE") else None
    own = [t for t in reply.json()["tags"] if hints.ours(t)] if reply is not None and reply.status == 200 else []
    answer = await hub_reply(core, req)
    if answer.ok and own:
        await hints.keep(core, kind, ident, own)
    doc = answer.json() if answer.status == 200 else None
    if isinstance(doc, dict) and isinstance(doc.get("tags"), list):
        doc["tags"] = [t for t in doc["tags"] if not hints.ours(t)]
        return from_hub(core, answer, msgspec.json.encode(doc))
    return from_hub(core, answer)


async def network_zones(core: Core, req: Request) -> Response:
    """GET /availability_zones: every north zone takes networks and routers."""
    rows = [
        {"name": zone, "resource": resource, "state": "available" if core.sites.usable(site) else "unavailable"}
        for zone, site in sorted(zone_sites(core).items())
        for resource in ("network", "router")
    ]
    for key in ("name", "resource", "state"):
        if wanted := {v for k, v in req.params if k == key}:
            rows = [r for r in rows if r[key] in wanted]
    if fields := {v for k, v in req.params if k == "fields"}:
        rows = [{k: v for k, v in r.items() if k in fields} for r in rows]
    return Response.of({"availability_zones": rows})


async def network_agents(core: Core, req: Request) -> Response:
    """/agents: the sites'. Who may not see them is told so by the hub."""
    if not req.caller.is_admin:
        return await to_hub(core, req)
    if req.method == "GET" and not req.match["rest"]:
        return await concatenated(core, req, "agents")
    return await any_site(core, req) or await to_hub(core, req)


HANDLERS: dict[str, Handler] = {
    "network_read": network_read, "network_create": network_create, "network_write": network_write,
    "network_tags": network_tags, "network_zones": network_zones, "network_agents": network_agents,
}  # fmt: skip


class _View:
    """What the client asked to see, when the hub must be asked for more (fields) and for less (filters on a site's facts)."""

    def __init__(self, kind: str, params: Params) -> None:
        self._filters = {n: {v for k, v in params if k == n} for n in state.STATE.get(kind, ()) if any(k == n for k, _ in params)}
        self._fields = {v for k, v in params if k == "fields" and v}
        self._asked = params
        self.params = [(k, v) for k, v in params if k not in self._filters]
        if self._fields:
            more = {"id", *self._filters} | ({"tags"} if kind in hints.ZONED else set())
            more |= {"port_id"} if kind == "floating_ip" else set()
            self.params += [("fields", f) for f in sorted(more - self._fields)]

    def narrow(self, doc: Doc, collection: str) -> None:
        """Back to what was asked for, in place."""
        for link in doc.get(f"{collection}_links") or ():
            link["href"] = self._link(link["href"])
        if self._filters and collection in doc:
            doc[collection] = [r for r in doc[collection] if all(r.get(k) in v for k, v in self._filters.items())]
        if self._fields:
            for row in _rows(doc, collection) or []:
                for key in row.keys() - self._fields:
                    del row[key]

    def _link(self, href: str) -> str:
        """The hub's page with the client's own question: what was added is not shown, what was taken out holds there too."""
        base, _, query = href.partition("?")
        turned = {k: v for k, v in parse_qsl(query) if k in _PAGE}
        kept = [(k, v) for k, v in self._asked if k not in _PAGE]
        return f"{base}?{urlencode([*kept, *turned.items()], safe=':')}"


def _rows(doc: Any, collection: str) -> list[Doc] | None:
    """The documents in a body, of a list or of one; None where it is neither."""
    if not isinstance(doc, dict):
        return None
    one = collection.removesuffix("s")
    found = doc.get(collection) if collection in doc else [doc[one]] if one in doc else None
    return found if isinstance(found, list) and all(isinstance(r, dict) for r in found) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parent(kind: str, row: Doc) -> tuple[str, str] | None:
    """What has to follow when such a thing is made."""
    key, parent = {
        "subnet": ("network_id", "network"), "security_group_rule": ("security_group_id", "security_group"),
        "floating_ip": ("port_id", "port"),
    }.get(kind, ("", ""))  # fmt: skip
    value = row.get(key)
    return (parent, value) if parent and isinstance(value, str) else None


async def _group_of(core: Core, req: Request, rule: str) -> tuple[str, str] | None:
    reply = await core.south.call("hub", "network", "GET", f"/v2.0/security-group-rules/{rule}", as_=req.caller)
    return ("security_group", reply.json()["security_group_rule"]["security_group_id"]) if reply.status == 200 else None


async def _judged(core: Core, req: Request, keys: list[tuple[str, str]], *, body: bytes | None) -> Reply:
    """The hub's verdict, with the keys marked before and followed after. Only a refusal is known to have changed nothing."""
    marks = [mark for key in keys for mark in await core.networks.dirty(*key)]
    changed = True
    try:
        reply = await hub_reply(core, req, body=body)
        changed = reply.ok
        return reply
    finally:
        if changed:
            for key in keys:
                await core.networks.sync(*key)
        else:
            await core.networks.unmark(marks)


async def _keep_hints(core: Core, req: Request, kind: str, rows: list[Doc], kept: list[list[str] | None]) -> None:
    """Tags for the hints; the documents are then read again, for tagging moves their revision."""
    for row, wanted in zip(rows, kept, strict=False):
        old = [t for t in row.get("tags") or () if hints.ours(t)]
        if wanted is None or hints.tags_of(wanted) == old:
            continue
        await hints.keep(core, kind, row["id"], hints.tags_of(wanted), instead_of=old)
        fresh = await core.south.call("hub", "network", "GET", f"/v2.0/{hints.ZONED[kind]}/{row['id']}", as_=req.caller)
        if fresh.status == 200:
            row.update(fresh.json()[kind])


async def _overlay(core: Core, kind: str, rows: list[Doc]) -> None:
    if kind in hints.ZONED:
        await hints.overlay(core, kind, rows)
    elif kind == "port":
        await state.overlay_ports(core, rows)
    elif kind == "floating_ip":
        await state.overlay_floating(core, rows)
