"""Host aggregates: the record is the hub's, the hosts are the sites' (design review 1.4).

A site holds a copy as long as one of its hosts is in it. The copy bears the hub's uuid in its metadata, so nothing is
stored here and every answer is the sites' own. Sites judge first, since only they know what a change would do to their
servers; the hub's record follows.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from cascade.api.core import Core
from cascade.api.forward import from_hub, from_site, hub_reply, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.model.errors import Fault, SiteError
from cascade.model.ids import north_host, split_host
from cascade.routing.bodies import to_south

log = structlog.get_logger(__name__)

STAMP = "cascade"
VERSION = "2.41"
"""From here on aggregates show their uuid."""
Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copy:
    """A site's copy of an aggregate, as the site shows it."""

    site: str
    id: int
    doc: Doc

    @property
    def hosts(self) -> list[str]:
        """North names."""
        return [north_host(self.site, h) for h in self.doc["hosts"]]


async def aggregates(core: Core, req: Request) -> Response:
    """Everything below /os-aggregates."""
    parts = req.match["rest"].strip("/").split("/")
    if req.method == "POST" and parts == [""]:
        return await to_hub(core, req)
    if parts == [""]:
        return await _listed(core, req)
    shown = await core.south.call("hub", "compute", "GET", f"/os-aggregates/{parts[0]}", as_=req.caller, version=VERSION)
    if shown.status != 200:
        return await to_hub(core, req)  # unknown, or not his to see: the hub's own words
    group: Doc = shown.json()["aggregate"]
    if req.method == "GET":
        return await _listed(core, req)
    if req.method == "POST" and parts[1:] == ["action"]:
        doc = req.json()
        name = next(iter(doc)) if isinstance(doc, dict) and len(doc) == 1 else ""
        host = doc[name].get("host") if name in ("add_host", "remove_host") and isinstance(doc[name], dict) else None
        where = split_host(host) if isinstance(host, str) else None
        if where is not None and where[0] in core.sites.names():
            return await _host(core, req, group, where[0], add=name == "add_host")
        return await _everywhere(core, req, group, parts) if name == "set_metadata" else await to_hub(core, req)
    return await _everywhere(core, req, group, parts)


async def _listed(core: Core, req: Request) -> Response:
    reply = await hub_reply(core, req)
    if reply.status != 200:
        return from_hub(core, reply)
    doc = reply.json()
    # Below 2.41 the uuid is not shown, so it is asked for beside.
    full = await core.south.call("hub", "compute", "GET", "/os-aggregates", as_=req.caller, version=VERSION)
    uuids = {a["id"]: a["uuid"] for a in full.expect(200).json()["aggregates"]}
    copies = await _copies(core)
    for row in doc["aggregates"] if "aggregates" in doc else [doc["aggregate"]]:
        row["hosts"] = [h for c in copies.get(uuids.get(row["id"], ""), ()) for h in c.hosts]
    return from_hub(core, reply, msgspec.json.encode(doc))


async def _copies(core: Core, *, strict: bool = False) -> dict[str, list[Copy]]:
    """hub uuid -> its copies. ``strict``: raises SiteError where a site cannot be asked."""

    async def ask(site: str) -> list[Copy]:
        try:
            reply = await core.south.call(
                site, "compute", "GET", "/os-aggregates", version=VERSION, timeout=core.conf.list_deadline
            )
            return [Copy(site, a["id"], a) for a in reply.expect(200).json()["aggregates"]]
        except SiteError:
            if strict:
                raise
            return []

    out: dict[str, list[Copy]] = {}
    for rows in await asyncio.gather(*(ask(s) for s in core.sites.names())):
        for copy in rows:
            if STAMP in copy.doc["metadata"]:
                out.setdefault(copy.doc["metadata"][STAMP], []).append(copy)
    return out


async def _host(core: Core, req: Request, group: Doc, site: str, *, add: bool) -> Response:
    """A host in or out, at its site; the copy comes with the first host and goes with the last."""
    if not core.sites.usable(site):
        raise Fault(503, f"Availability zone {site} is not available at the moment.", headers={"Retry-After": "10"})
    copy = next((c for c in (await _copies(core)).get(group["uuid"], ()) if c.site == site), None)
    made = None
    if copy is None:
        if not add:
            return await to_hub(core, req)  # which has no such host in it
        copy = made = await _make(core, group, site)
    reply = await site_reply(core, req, site, path=f"/os-aggregates/{copy.id}/action")
    if not add and reply.ok and not reply.json()["aggregate"]["hosts"]:
        made = copy
    if made is not None and (not add or not reply.ok):
        (await core.south.call(site, "compute", "DELETE", f"/os-aggregates/{made.id}")).expect(200, 404)
    core.tasks.start("zones", core.discovery.refresh(site))
    if not reply.ok:
        return _renamed(await from_site(core, req, site, reply), copy.id, group["id"])
    show = Request(
        service="compute", method="GET", path=f"/os-aggregates/{group['id']}", params=[], headers=req.headers, caller=req.caller,
        request_id=req.request_id, version=req.version,
    )  # fmt: skip
    return await _listed(core, show)


async def _make(core: Core, group: Doc, site: str) -> Copy:
    """The copy: the hub's name, zone and metadata, and its stamp. A name the site's owner uses gets the uuid behind it."""
    zone = group.get("availability_zone")
    body: Doc = {"name": group["name"], **({"availability_zone": zone} if zone else {})}
    body = to_south(body, site=core.sites.get(site), service="compute") | {"name": body["name"]}
    reply = await core.south.call(site, "compute", "POST", "/os-aggregates", json={"aggregate": body}, version=VERSION)
    if reply.status == 409:
        body["name"] = f"{group['name'][:200]}-{group['uuid']}"
        reply = await core.south.call(site, "compute", "POST", "/os-aggregates", json={"aggregate": body}, version=VERSION)
    made = reply.expect(200).json()["aggregate"]
    metadata = {k: v for k, v in group["metadata"].items() if k != "availability_zone"} | {STAMP: group["uuid"]}
    path = f"/os-aggregates/{made['id']}/action"
    stamped = await core.south.call(site, "compute", "POST", path, json={"set_metadata": {"metadata": metadata}}, version=VERSION)
    return Copy(site, made["id"], stamped.expect(200).json()["aggregate"])


async def _everywhere(core: Core, req: Request, group: Doc, parts: list[str]) -> Response:
    """A change of the aggregate itself: the first site that refuses stops it, and the hub is not asked then."""
    try:
        copies = (await _copies(core, strict=True)).get(group["uuid"], [])
    except SiteError as e:
        message = f"Availability zone {e.target} cannot be asked for its hosts. Try again later."
        raise Fault(503, message, headers={"Retry-After": "30"}) from e
    if parts[1:] == ["images"] and copies:
        return await _cache_images(core, req, copies)
    change = _for_copies(req)
    for copy in copies if req.method == "DELETE" or change is not None else ():
        path = "/".join(["/os-aggregates", str(copy.id), *parts[1:]])
        reply = await site_reply(core, req, copy.site, path=path, doc=change)
        if not reply.ok:
            return _renamed(await from_site(core, req, copy.site, reply), copy.id, group["id"])
    answer = await to_hub(core, req)
    for site in {c.site for c in copies}:
        core.tasks.start("zones", core.discovery.refresh(site))
    doc = msgspec.json.decode(answer.body) if answer.status == 200 and req.method != "DELETE" else None
    if isinstance(doc, dict) and isinstance(doc.get("aggregate"), dict):
        doc["aggregate"]["hosts"] = [h for c in copies for h in c.hosts]
        answer.body = msgspec.json.encode(doc)
    return answer


def _for_copies(req: Request) -> Doc | None:
    """The body the copies get; None where it does not concern them, as their names do not."""
    doc = req.json()
    what = next(iter(doc.values()), None) if isinstance(doc, dict) and len(doc) == 1 else None
    if not isinstance(what, dict):
        return doc if isinstance(doc, dict) else None
    if "aggregate" in doc:
        kept = {k: v for k, v in what.items() if k != "name"}
        return {"aggregate": kept} if kept else None
    if isinstance(what.get("metadata"), dict):
        return {"set_metadata": {**what, "metadata": {k: v for k, v in what["metadata"].items() if k != STAMP}}}
    return {**doc}


async def _cache_images(core: Core, req: Request, copies: list[Copy]) -> Response:
    """POST .../images: every image goes to every site of the aggregate, whose Nova then has its hosts fetch it."""
    doc = req.json()
    images = doc.get("cache") if isinstance(doc, dict) else None
    named = [i["id"] for i in images if isinstance(i, dict) and isinstance(i.get("id"), str)] if isinstance(images, list) else []
    answer = None
    for copy in copies:
        known = {i: await core.images.materialise(copy.site, i, req.caller) for i in named}
        reply = await site_reply(core, req, copy.site, path=f"/os-aggregates/{copy.id}/images", known=known)
        answer = await from_site(core, req, copy.site, reply)
        if answer.status >= 300:
            return answer
    assert answer is not None
    return answer


def _renamed(answer: Response, there: int, north: int) -> Response:
    """A site's refusal, which names its own id of the aggregate."""
    answer.body = re.sub(rb"\baggregate %d\b" % there, b"aggregate %d" % north, answer.body, flags=re.IGNORECASE)
    return answer
