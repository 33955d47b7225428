"""Neutron north: the hub answers everything with the caller's own token; what it cannot know is put in, and copies follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from cascade.api import network_hidden as hidden
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
from cascade.reconcile.net.sharing import SHARING

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
    await hidden.leave_out(core, kind, doc, req.row.collection)
    await _overlay(core, kind, _rows(doc, req.row.collection) or [])
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
    if kind == "floating_ip":
        for row in rows:
            await _reaches(core, req, row.get("floating_network_id"), row)
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
    doc = req.json()
    rows = _rows(doc, req.row.collection) or []
    keys = [key] if (key := await _key(core, req, kind, ident)) else []
    if kind == "network" and any("shared" in r for r in rows):
        keys.append((SHARING, ident))
    if kind == "port" and req.method == "PUT" and rows:
        await _keeps_mac(core, req, ident, rows[0])
    if kind == "floating_ip" and req.method == "PUT" and rows and rows[0].get("port_id"):
        reply = await core.south.call("hub", "network", "GET", f"/v2.0/floatingips/{ident}", as_=req.caller)
        known = reply.json()["floatingip"] if reply.status == 200 else {}
        await _reaches(core, req, known.get("floating_network_id"), rows[0])
    if kind == "router" and req.path.endswith("/add_router_interface"):
        await _routes(core, req, ident, doc)
    wanted = hints.take(core, rows[0]) if kind == "router" and req.method == "PUT" and len(rows) == 1 else None
    body = msgspec.json.encode(doc) if wanted is not None else None
    reply = await _judged(core, req, keys, body=body)
    if not reply.ok:
        return from_hub(core, reply)
    made = reply.json() if req.method == "PUT" else None
    done = _rows(made, req.row.collection) if req.row.collection else None
    if done is None:
        return from_hub(core, reply)
    if wanted is not None:
        await _keep_hints(core, req, kind, done, [wanted])
        await core.networks.sync(kind, ident)  # it may leave sites now
    await _overlay(core, kind, done)
    return from_hub(core, reply, msgspec.json.encode(made))


async def network_forward(core: Core, req: Request) -> Response:
    """Writes below a floating IP: all its forwardings lead to one site, where it stands."""
    ident, one = req.match["id"], req.match["rest"].strip("/")
    doc = req.json()
    wanted = doc.get("port_forwarding") if isinstance(doc, dict) else None
    if isinstance(wanted, dict):
        reply = await core.south.call("hub", "network", "GET", f"/v2.0/floatingips/{ident}", as_=req.caller)
        floating = reply.json()["floatingip"] if reply.status == 200 else {}
        beside = [f["internal_port_id"] for f in floating.get("port_forwardings") or () if f.get("id") != one]
        target = {"port_id": wanted.get("internal_port_id")}
        await _reaches(core, req, floating.get("floating_network_id"), target, [b for b in beside if isinstance(b, str)])
    return from_hub(core, await _judged(core, req, [("floating_ip", ident)], body=None))


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
    """GET /availability_zones: every north zone takes networks and routers. Of filters the hub knows which there are."""
    if not (reply := await hub_reply(core, req)).ok:
        return from_hub(core, reply)
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
        reply = await hub_reply(core, req)  # for what it says to bad parameters; it has no agents
        return from_hub(core, reply) if reply.status == 400 else await concatenated(core, req, "agents")
    return await any_site(core, req) or await to_hub(core, req)


HANDLERS: dict[str, Handler] = {
    "network_read": network_read, "network_create": network_create, "network_write": network_write,
    "network_forward": network_forward, "network_tags": network_tags,
    "network_zones": network_zones, "network_agents": network_agents,
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
            more |= {"floating_ip": {"port_id"}, "port": {"device_owner"}}.get(kind, set()) | hidden.FIELDS.get(kind, set())
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
        "floating_ip": ("port_id", "port"), "trunk": ("port_id", "port"),
    }.get(kind, ("", ""))  # fmt: skip
    value = row.get(key)
    return (parent, value) if parent and isinstance(value, str) else None


_PARTS = {
    "security_group_rule": ("/v2.0/security-group-rules", "security_group_rule", "security_group_id", "security_group"),
    "rbac_policy": ("/v2.0/rbac-policies", "rbac_policy", "object_id", SHARING),
}
"""Kinds without copies of their own: path, JSON key, field with the id of what has to follow, and its kind."""


async def _key(core: Core, req: Request, kind: str, ident: str) -> tuple[str, str] | None:
    """What has to follow when this one thing is changed; None where the caller cannot see it, and the hub will refuse."""
    if kind in _PARTS:
        path, one, field, parent = _PARTS[kind]
        reply = await core.south.call("hub", "network", "GET", f"{path}/{ident}", as_=req.caller)
        return (parent, reply.json()[one][field]) if reply.status == 200 else None
    if kind == "qos_rule":  # the path names no policy, and neither does the rule
        reply = await core.south.call("hub", "network", "GET", "/v2.0/qos/policies", as_=req.caller)
        policies = reply.json()["policies"] if reply.status == 200 else []
        return next((("qos_policy", p["id"]) for p in policies if any(r["id"] == ident for r in p["rules"])), None)
    return kind, ident


async def _keeps_mac(core: Core, req: Request, ident: str, wanted: Doc) -> None:
    """Neutron changes no MAC of a port that is bound, and the hub's own ports never are. Raises its Fault 409.

    The site is asked, so that a port that a server has not yet taken can still change.
    """
    if not wanted.get("mac_address"):
        return
    reply = await core.south.call("hub", "network", "GET", f"/v2.0/ports/{ident}", as_=req.caller)
    port = reply.json()["port"] if reply.status == 200 else {}
    old, new = port.get("mac_address"), str(wanted["mac_address"]).lower()
    if port and old != new and await core.networks.at_work(ident):
        text = f"Unable to complete operation on port {ident}, port is already bound, old_mac {old}, new_mac {new}."
        raise Fault(409, text, kind="PortBound")


async def _reaches(core: Core, req: Request, external: object, wanted: Doc, beside: Sequence[str] = ()) -> None:
    """A floating IP of some zones goes to no port of another one. What the caller cannot see is for the hub to refuse."""
    port = wanted.get("port_id")
    if not isinstance(external, str) or not isinstance(port, str) or not port:
        return
    reply = await core.south.call("hub", "network", "GET", f"/v2.0/ports/{quote(port, safe='')}", as_=req.caller)
    if reply.status == 200:
        await core.networks.may_float(external, port, beside)


async def _routes(core: Core, req: Request, router: str, doc: object) -> None:
    """A router that stays in one site is given no network that cannot come there. What the caller cannot see, the hub refuses."""
    where = f"/v2.0/routers/{router}"
    reply = await core.south.call("hub", "network", "GET", where, as_=req.caller)
    row = reply.json()["router"] if reply.status == 200 else {}
    if not any(hints.ours(t) for t in row.get("tags") or ()) or not isinstance(doc, dict):
        return
    for field, path, one in (("subnet_id", "subnets", "subnet"), ("port_id", "ports", "port")):
        if isinstance(ident := doc.get(field), str):
            reply = await core.south.call("hub", "network", "GET", f"/v2.0/{path}/{quote(ident, safe='')}", as_=req.caller)
            if reply.status == 200:
                await core.networks.may_route(row, reply.json()[one]["network_id"])


async def _judged(core: Core, req: Request, keys: list[tuple[str, str]], *, body: bytes | None) -> Reply:
    """The hub's verdict, with the keys marked before and followed after."""
    async with core.networks.change(*keys) as change:
        reply = await hub_reply(core, req, body=body)
        change.refused = not reply.ok
        return reply


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
    elif kind == "trunk":
        await state.overlay_trunks(core, rows)
