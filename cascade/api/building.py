"""Servers accepted before their image's bits are at the site, north: the 202, and everything asked of them until they are there."""

from __future__ import annotations

import secrets
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec

from cascade.api import boot as reading
from cascade.api.adopt import promised
from cascade.api.core import Core
from cascade.api.forward import from_hub
from cascade.api.request import Request, Response
from cascade.model.errors import Fault
from cascade.model.reply import Reply
from cascade.reconcile import building
from cascade.routing import bodies, translate
from cascade.routing import building as view
from cascade.routing.rows import Params, Row
from cascade.sites.buildrequest import BuildRequest
from cascade.sites.versions import at_least
from cascade.store.index import IndexEntry
from cascade.store.intents import FAILED, Intent

HOLD = 2.0
"""Seconds a create waits for bits that are on their way: a small image's are there by then, and the client waits anyway."""
PLACE = "*"
"""What stands for a site's name in a list, where the rows are those of this gateway. No site can be called so."""
_PASSWORD = 12
"""Characters of a generated ``adminPass``: Nova's default."""
_NAMED = ("hw_", "img_", "os_")
"""Properties of an image that Nova shows with a server (2.98)."""
_ZONAL = frozenset({
    "availability_zone", "host", "hypervisor_hostname", "min_count", "max_count", "return_reservation_id", "block_device_mapping",
})  # fmt: skip
"""What of a create's body only a site can judge, and the counts, which were judged before."""
Doc = dict[str, Any]


async def judge(core: Core, req: Request, boot: reading.Boot, doc: Doc) -> Response | None:
    """Nova's refusal of what it finds out before its 202, None where it has nothing against the create.

    The hub's Nova is asked, which knows all but what lives in sites: that is left out. Of what it accepts nothing stays.
    """
    server = {k: v for k, v in doc["server"].items() if k not in _ZONAL}
    if boot.volumes or boot.snapshots:
        if not server.get("imageRef"):
            return None
        server.pop("block_device_mapping_v2", None)
    reply = await core.south.call(
        "hub", "compute", "POST", "/servers", as_=req.caller, json={**doc, "server": server}, version=req.version
    )
    if reply.status != 202:
        return from_hub(core, reply)
    made = reply.json()["server"]["id"]
    # A hub without Placement says 500 to this, and does it.
    await core.south.call("hub", "compute", "DELETE", f"/servers/{made}", as_=req.caller)
    return None


async def accept(
    core: Core, req: Request, boot: reading.Boot, doc: Doc, intent: Intent, *, body: Doc, known: dict[str, str], images: list[str],
    ports: list[str],
) -> tuple[Response, str]:  # fmt: skip
    """The 202 and the server's north id. ``body`` is the site's but for ids and zones; ``ports`` are the client's own.

    Raises Conflict where another process has taken the intent back meanwhile.
    """
    where = core.sites.get(intent.site)
    ids = await core.store.pairs.to_site(intent.site, translate.tokens(body) - set(images))
    mapping = {k: p.site_id for k, p in ids.items() if p.project_id in (None, req.caller.project_id)} | known
    server = body["server"]
    server.setdefault("adminPass", "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_PASSWORD)))
    south = bodies.to_south(translate.rewrite(body, mapping), site=where, service="compute")
    caller = req.caller
    flavor = await core.south.call("hub", "compute", "GET", f"/flavors/{quote(boot.flavor, safe='')}", as_=caller, version="2.61")
    shown = {**doc["server"], "name": server["name"]} | ({"hostname": server["hostname"]} if "hostname" in server else {})
    request = BuildRequest(
        user_id=caller.user_id, user_name=caller.user_name, user_domain_id=caller.user_domain_id,
        project_id=caller.project_id or "", project_name=caller.project_name, project_domain_id=caller.project_domain_id,
        roles=sorted(caller.roles), version=south_version(req, boot), body=south, images=images, server=shown,
        description=shown.get("description") if boot.version >= (2, 19) else shown["name"], hints=boot.hints, group=boot.group,
        flavor=flavor.expect(200).json()["flavor"], properties=await _properties(core, req, boot),
    )  # fmt: skip
    ident = await core.watch.building.begin(intent, request, caller, user_ports=ports)
    core.watch.wake(intent.site)
    at = view.links(_public(core), "servers", ident)
    made = {
        "id": ident, "links": at, "OS-DCF:diskConfig": server.get("OS-DCF:diskConfig") or "MANUAL",
        "security_groups": boot.server.get("security_groups") or [{"name": "default"}], "adminPass": server["adminPass"],
    }  # fmt: skip
    return Response.of({"server": made}, 202, {"Location": at[0]["href"]}), ident


def south_version(req: Request, boot: reading.Boot) -> str:
    """A create goes south in the client's version, or the first in which it can carry its stamp."""
    return req.version or "2.52" if boot.version >= reading.STAMP_FROM else "2.52"


async def _properties(core: Core, req: Request, boot: reading.Boot) -> dict[str, str]:
    if not isinstance(boot.server.get("imageRef"), str) or not boot.server["imageRef"]:
        return {}
    reply = await core.south.call("hub", "image", "GET", f"/v2/images/{quote(boot.images[0], safe='')}", as_=req.caller)
    return {k: str(v) for k, v in reply.expect(200).json().items() if k.startswith(_NAMED) and k != "os_hidden" and v is not None}


# -- one of them ---------------------------------------------------------------------------------------------------------


async def find(core: Core, req: Request) -> view.Held | None:
    """The build request a path names, if the caller may know of it; None for every server that is at its site."""
    try:
        ident = UUID(req.match.get("id", "")).hex
    except ValueError:
        return None
    if req.method == "GET" and core.store.index.settled("server", req.match["id"]):
        return None
    intent = await core.store.intents.find(ident)
    if intent is None or intent.state not in building.SHOWN or not intent.resource_id:
        return None
    if intent.project_id != req.caller.project_id and not req.caller.is_admin:
        return None
    return await _held(core, intent)


async def _held(core: Core, intent: Intent) -> view.Held | None:
    request = core.watch.building.read(intent)
    if request is None or intent.resource_id is None:
        return None
    others = await core.store.intents.by_resource(intent.resource_id)
    return view.Held(
        id=intent.resource_id, intent=intent.id, site=intent.site, project_id=intent.project_id, user_id=intent.user_id,
        created=float(int(intent.created)), deleting=any(i.verb == "server.delete" for i in others),
        fault=building.Building.fault(intent) if intent.state == FAILED else None, request=request,
    )  # fmt: skip


def unless_building(handler: Callable[[Core, Request], Awaitable[Response]]) -> Callable[[Core, Request], Awaitable[Response]]:
    """``handler``, for servers that are at their site."""

    async def serve(core: Core, req: Request) -> Response:
        if req.row is None or req.row.resource != "server" or "id" not in req.match:
            return await handler(core, req)
        held = await find(core, req)
        return await handler(core, req) if held is None else await _answer(core, req, held)

    return serve


async def _answer(core: Core, req: Request, held: view.Held) -> Response:
    below = req.path.removeprefix(f"/servers/{req.match['id']}").strip("/")
    doc = req.json()
    if (req.method == "DELETE" and not below) or (below == "action" and isinstance(doc, dict) and doc.keys() == {"forceDelete"}):
        entry = IndexEntry(
            kind="server", id=held.id, site=held.site, project_id=held.project_id, user_id=held.user_id, created=held.created
        )
        await core.watch.withdraw(entry, req.request_id)
        return Response(status=202 if below else 204)
    state = "error" if held.fault else "building"
    if req.method != "GET":
        what = next(iter(doc), below) if below == "action" and isinstance(doc, dict) else below or "update"
        raise Fault(409, f"Cannot '{what}' instance {held.id} while it is in vm_state {state}")
    if not below:
        shown = view.show(held, version=req.version, admin=req.caller.is_admin, public=_public(core))
        return Response.of({"server": shown})
    server = held.request.server
    head, _, key = below.partition("/")
    if head == "metadata" and key:
        if key not in (server.get("metadata") or {}):
            raise Fault(404, f"Instance {held.id} has no metadata with key {key}.")
        return Response.of({"meta": {key: server["metadata"][key]}})
    if head == "tags" and key and at_least(req.version, "2.26"):
        return Response(status=204 if key in (server.get("tags") or ()) else 404)
    empty = {
        "metadata": {"metadata": server.get("metadata") or {}}, "tags": {"tags": server.get("tags") or []},
        "ips": {"addresses": {}}, "os-interface": {"interfaceAttachments": []}, "migrations": {"migrations": []},
        "os-volume_attachments": {"volumeAttachments": []}, "os-instance-actions": {"instanceActions": []},
        "os-security-groups": {"security_groups": []},
    }  # fmt: skip
    if key or head not in empty:
        raise Fault(409 if head == "diagnostics" else 404, f"Instance {held.id} is not ready")
    return Response.of(empty[head])


# -- among others --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Among:
    """The build requests of one list, as one more site in it, and as what the list engine asks of the index."""

    core: Core
    req: Request
    held: Sequence[view.Held]
    docs: Sequence[Doc]

    def reply(self, path: str, params: Params) -> Reply:
        """GET of a list or of one, as a site answers it."""
        assert self.req.row is not None
        ident = path.removeprefix("/servers").removeprefix("/detail").strip("/")
        if ident:
            found = next((d for d in self.docs if d["id"] == ident), None)
            return _reply(200, {"server": found}) if found else _reply(404, {})
        admin, ties = self.req.caller.is_admin, self.req.row.ties
        rows = view.page(self.held, self.docs, params, version=self.req.version, admin=admin, ties=ties)
        return _reply(400, {"badRequest": {"message": "marker"}}) if rows is None else _reply(200, {"servers": rows})

    async def others(self, site: str, rows: Sequence[Row]) -> list[Row]:
        """Rows of ``site`` without those that are here already: requests that were sent to it since this list began."""
        here = {h.id for h in self.held if h.site == site}
        if not here:
            return list(rows)
        store = self.core.store
        names = {k: p.hub_id for k, p in (await store.pairs.to_hub(site, [r.id for r in rows])).items()}
        strange = await store.index.unknown("server", {r.id for r in rows} - names.keys())
        for ident in strange:  # not paired yet
            names[ident] = await promised(self.core, site, ident) or ident
        return [r for r in rows if names.get(r.id) not in here]

    async def get(self, kind: str, id: str, deleted: bool = False) -> IndexEntry | None:
        """See ``store.index``; a build request is where its list is."""
        entry = await self.core.store.index.get(kind, id, deleted)
        return replace(entry, site=PLACE) if entry is not None and any(h.id == id for h in self.held) else entry

    async def preceding(
        self, kind: str, site: str, project_id: str | None, created: float, id: str, tie: str = "asc"
    ) -> IndexEntry | None:
        """See ``store.index``."""
        if site != PLACE:
            return await self.core.store.index.preceding(kind, site, project_id, created, id, tie)
        before = [h for h in self.held if h.created > created or (h.created == created and h.id <= id)]
        last = max(before, key=lambda h: (-h.created, h.id), default=None)
        return await self.get(kind, last.id) if last is not None else None

    async def set_created(self, kind: str, created: Mapping[str, float]) -> None:
        """See ``store.index``; the times of build requests are there already."""
        await self.core.store.index.set_created(kind, created)


async def among(core: Core, req: Request, project: str | None) -> Among | None:
    """The build requests a list may have to show; None where there are none."""
    intents = await core.store.intents.in_state("server.create", building.SHOWN, project)
    held = [h for i in intents if i.resource_id and (h := await _held(core, i)) is not None]
    if not held:
        return None
    docs = [view.show(h, version=req.version, admin=req.caller.is_admin, public=_public(core), alone=False) for h in held]
    return Among(core=core, req=req, held=held, docs=docs)


async def members(core: Core, group: str) -> list[str]:
    """The build requests that will be in a server group."""
    found = []
    for intent in await core.store.intents.in_state("server.create", building.SHOWN, None):
        request = core.watch.building.read(intent)
        if request is not None and request.group == group and intent.resource_id:
            found.append(intent.resource_id)
    return found


def _reply(status: int, doc: Any) -> Reply:
    return Reply(PLACE, status, {"content-type": "application/json"}, msgspec.json.encode(doc))


def _public(core: Core) -> str:
    public: str = core.conf.public_url
    return public.rstrip("/") + "/compute"
