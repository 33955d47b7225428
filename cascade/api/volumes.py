"""Cinder's zonal things: made where their source is, or in the zone named, or at the project's home site."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import msgspec

from cascade.api.adopt import adopt, adopt_children, children, leaving
from cascade.api.choice import choose
from cascade.api.core import Core
from cascade.api.forward import from_hub, from_site, hub_reply, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.api.zonal import at_site, locate
from cascade.model.crash import point
from cascade.model.errors import Conflict, Fault, NativeFault, OverQuota, SiteError, SiteUnreachable
from cascade.quota.amounts import PER_TYPE, block_amounts
from cascade.routing import translate
from cascade.routing.bodies import STAMP_KEY
from cascade.store.index import IndexEntry
from cascade.store.intents import Intent

_THE_VOLUMES = {"transfer": "volume_id", "attachment": "volume_uuid"}
"""Kinds that belong to the volume's project, whoever makes them (others are their maker's), and where they name the volume."""
_MOST = 2**31 - 1
"""Gigabytes that Cinder's database can note: a larger size is no matter of quota."""
_SOURCES = {
    "snapshot_id": "snapshot", "source_volid": "volume", "volume_id": "volume", "backup_id": "backup", "group_id": "group",
    "group_snapshot_id": "group_snapshot", "volume_uuid": "volume", "instance_uuid": "server", "source_group_id": "group",
}  # fmt: skip
"""Body fields that name a zonal thing and so pin the site."""


async def volume_create(core: Core, req: Request) -> Response:
    """POST /volumes."""
    doc = req.json()
    volume = doc.get("volume") if isinstance(doc, dict) else None
    if not isinstance(volume, dict):
        return await _verdict(core, req)
    named = await _named(core, req, volume)
    if named is None:
        return await _verdict(core, req)  # an unknown source: Cinder at the hub says so
    zone, size = volume.get("availability_zone"), volume.get("size")
    if not isinstance(zone, str | None) or (isinstance(size, int) and size > _MOST):
        return await _verdict(core, req)
    choice = await choose(core, req, zone=zone or None, named=named)
    known = {}
    image = volume.get("imageRef") or volume.get("image_id")
    if isinstance(image, str) and image:
        try:
            known[image] = await core.images.materialise(choice.site, image, req.caller)
        except NativeFault as e:
            if e.target != "hub":
                raise
            return await _verdict(core, req)
    if not await _types(core, req, choice.site, volume):
        return await _verdict(core, req)
    counted = await _size(core, req, volume, named)
    amounts = await _per_type(core, req, volume, named, {"volumes": 1, "gigabytes": counted})
    body = {"size": counted, "name": volume.get("name")}
    return await _make(core, req, choice.site, "volume", amounts, body, doc, known)


async def _verdict(core: Core, req: Request) -> Response:
    """The hub's Cinder refuses a bad create in the real words. Should it accept after all, nothing stays of it."""
    reply = await hub_reply(core, req)
    if not reply.ok:
        return from_hub(core, reply)
    made = next((v["id"] for v in (reply.json() or {}).values() if isinstance(v, dict) and "id" in v), None)
    if made is not None:
        await core.south.call("hub", "volume", "DELETE", f"{req.path}/{made}", as_=req.caller, version=req.version)
    raise Fault(400, "The request names something that is not available.")


async def _types(core: Core, req: Request, site: str, what: dict[str, Any]) -> bool:
    """The types a body names are at the site; False where the hub shows the caller no such type."""
    many = what.get("volume_types")
    wanted = [
        ("volume_type", t) for t in (what.get("volume_type"), what.get("new_type"), *(many if isinstance(many, list) else ()))
    ]
    for kind, name in [*wanted, ("group_type", what.get("group_type"))]:
        if isinstance(name, str) and name and await core.volumes.materialise_type(site, name, req.caller, kind=kind) is None:
            return False
    return True


async def volume_child_create(core: Core, req: Request) -> Response:
    """POST of snapshots, backups, attachments, transfers, groups: at the site of what they are made from."""
    assert req.row is not None
    doc = req.json()
    key = next((k for k in doc if isinstance(doc[k], dict)), None) if isinstance(doc, dict) else None
    if key is None:
        return await _verdict(core, req)
    what = doc[key]
    named = await _named(core, req, what)
    if named is None:
        return await _verdict(core, req)
    zone = what.get("availability_zone")
    choice = await choose(core, req, zone=zone if isinstance(zone, str) and zone else None, named=named)
    kind = req.row.resource
    if kind == "group" and not await _types(core, req, choice.site, what):
        return await _verdict(core, req)
    amounts: dict[str, int] = {}
    if kind == "snapshot":
        size = await _size(core, req, {"source_volid": what.get("volume_id")}, named)
        amounts = {"snapshots": 1, "gigabytes": size}
        amounts = await _per_type(core, req, {"source_volid": what.get("volume_id")}, named, amounts)
    elif kind == "backup":
        size = await _size(core, req, {"source_volid": what.get("volume_id")}, named)
        amounts = {"backups": 1, "backup_gigabytes": size}
    elif kind == "group":
        amounts = {"groups": 1}
    owner = await core.store.index.get("volume", what[_THE_VOLUMES[kind]]) if kind in _THE_VOLUMES else None
    return await _make(core, req, choice.site, kind, amounts, {}, doc, {}, project=owner.project_id if owner else None)


async def _make(
    core: Core,
    req: Request,
    site: str,
    kind: str,
    amounts: dict[str, int],
    note: dict[str, Any],
    doc: dict[str, Any],
    known: dict[str, str],
    *,
    project: str | None = None,
) -> Response:
    """Intent and quota, one POST with a stamp where the kind can carry one, index, commit. ``project``: whose it is."""
    project = project or req.caller.project_id or ""
    if amounts:
        await core.allowances.ensure(site, "volume", project)
    try:
        intent = await core.store.begin_create(
            verb=f"{kind}.create", site=site, project_id=project, user_id=req.caller.user_id, request_id=req.request_id, body=note,
            amounts=amounts, limits=await core.limits.of("volume", project) if amounts else {},
        )  # fmt: skip
    except OverQuota as e:
        raise over_quota(e) from e
    with core.watch.at_work(intent):
        return await _post(core, req, intent, kind, doc, known)


async def _post(core: Core, req: Request, intent: Intent, kind: str, doc: dict[str, Any], known: dict[str, str]) -> Response:
    """The one POST; on every way out the intent says what is left to do."""
    site = intent.site
    point("volume.create:intent")
    stamped = kind in ("volume", "snapshot") and kind in doc and isinstance(doc[kind].get("metadata", {}) or {}, dict)
    if stamped:
        doc = copy.deepcopy(doc)
        doc[kind]["metadata"] = {**(doc[kind].get("metadata") or {}), STAMP_KEY: intent.id}
    try:
        await core.store.intents.advance(intent.id, "posting")
        reply = await site_reply(core, req, site, doc=doc, known=known)
    except Conflict as e:  # this process was taken for dead, and its intent was settled by another
        raise Fault(503, "The request was interrupted; try again.", headers={"Retry-After": "1"}) from e
    except (SiteUnreachable, Fault, NativeFault):  # it certainly was not carried out
        await core.store.ledger.release(intent.id)
        await core.store.intents.close(intent.id)
        raise
    except SiteError:
        await core.watch.unsure(intent)
        raise
    point("volume.create:answered")
    if not reply.ok:
        if reply.status < 500 or not stamped:
            await core.store.ledger.release(intent.id)
            await core.store.intents.close(intent.id)
        else:
            await core.watch.unsure(intent)
        return await from_site(core, req, site, reply)
    shown = next(v for v in reply.json().values() if isinstance(v, dict))
    made = shown["id"] if kind != "volume" or "volume_id" not in shown else shown["volume_id"]
    await core.watch.accepted(intent, made)
    if kind == "volume" and "size" in shown:  # its true size and type, where the request left them open
        await core.store.ledger.change(made, block_amounts(kind, shown), {})
    point("volume.create:indexed")
    core.tasks.start("unstamp", _unstamp(core, site, kind, made) if stamped else _close(core, intent))
    if kind == "volume" and "size" not in shown:
        one = IndexEntry(kind=kind, id=made, site=site, project_id=intent.project_id, user_id=intent.user_id, created=None)
        core.tasks.start("restored volume", adopt(core, [one]))
    if kind in ("group", "group_snapshot") and (entry := await core.store.index.get(kind, made)) is not None:
        await adopt_children(core, entry)
    return await from_site(core, req, site, reply)


async def _unstamp(core: Core, site: str, kind: str, ident: str) -> None:
    """Once the index has the id, the stamp is not needed any more."""
    await core.south.call(site, "volume", "DELETE", f"/{kind}s/{ident}/metadata/{STAMP_KEY}", version="3.0")


async def _close(core: Core, intent: Intent) -> None:
    """Kinds without a stamp are settled by their answer."""
    await core.store.intents.close(intent.id)


async def backup_restore(core: Core, req: Request) -> Response:
    """POST /backups/{id}/restore: without a volume named it makes one, which counts as any other."""
    entry = await locate(core, req, "backup", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    what = doc.get("restore") if isinstance(doc, dict) else None
    if not isinstance(what, dict) or what.get("volume_id") is not None:
        return await at_site(core, req, entry)
    shown = await core.south.call(entry.site, "volume", "GET", f"/backups/{entry.id}", as_=req.caller, version="3.60")
    size = int(shown.json()["backup"]["size"]) if shown.ok else 0
    return await _make(core, req, entry.site, "volume", {"volumes": 1, "gigabytes": size}, {"size": size}, doc, {})


async def volume_delete(core: Core, req: Request) -> Response:
    """DELETE: watched until gone, then the quota and the index row go."""
    assert req.row is not None
    entry = await locate(core, req, req.row.resource, req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    if not core.sites.usable(entry.site):
        raise Fault(503, f"Availability zone {entry.site} is not available at the moment.", headers={"Retry-After": "10"})
    intent = await core.watch.begin_delete(f"{entry.kind}.delete", entry, req.request_id)
    also = await _going_too(core, req, entry)
    try:
        reply = await site_reply(core, req, entry.site)
    except SiteError:
        core.watch.wake(entry.site)  # it may be going
        raise
    if reply.ok:
        if reply.status == 202:
            await leaving(core, req, entry, also)
        else:
            await core.watch.ended(entry)
    elif reply.status == 404:
        await core.watch.noticed(entry)
    else:
        await core.watch.refused(intent, req)
    return await from_site(core, req, entry.site, reply)


async def volume_action(core: Core, req: Request) -> Response:
    """POST /volumes/{id}/action (and of snapshots, backups, groups)."""
    assert req.row is not None
    entry = await locate(core, req, req.row.resource, req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    doc = req.json()
    name = next(iter(doc)) if isinstance(doc, dict) and len(doc) == 1 else ""
    what = doc[name] if name else None
    if name == "os-extend" and isinstance(what, dict) and isinstance(what.get("new_size"), int) and what["new_size"] <= _MOST:
        return await _extend(core, req, entry.id, entry.project_id, what["new_size"], entry.site)
    if name == "os-retype" and isinstance(what, dict):
        await _types(core, req, entry.site, what)  # an unknown one is refused by the site in the same words
    also = await _going_too(core, req, entry, what) if entry.kind == "group" and name == "delete" else []
    answer = await at_site(core, req, entry)
    if name == "os-volume_upload_image" and answer.status == 202:
        await core.images.born(entry.site, msgspec.json.decode(answer.body)[name]["image_id"], req.caller)
    if answer.status == 202 and (name in ("os-force_delete", "os-unmanage") or (entry.kind == "group" and name == "delete")):
        await leaving(core, req, entry, also)
    if name == "os-retype" and answer.status == 202:
        core.tasks.start("retype", _retyped(core, entry))
    return answer


async def _going_too(core: Core, req: Request, entry: IndexEntry, what: Any = None) -> list[tuple[str, str]]:
    """What the site deletes with a thing: the snapshots of a group snapshot or (cascade) a volume, a group's volumes."""
    if entry.kind == "group_snapshot":
        found = await children(core, entry.site, "snapshot", group_snapshot_id=entry.id)
        return [("snapshot", s["id"]) for s in found]
    if entry.kind == "volume" and req.true("cascade"):
        return [("snapshot", s["id"]) for s in await children(core, entry.site, "snapshot", volume_id=entry.id)]
    if entry.kind == "group" and isinstance(what, dict):
        return [("volume", v["id"]) for v in await children(core, entry.site, "volume", group_id=entry.id)]
    return []


async def _retyped(core: Core, entry: IndexEntry) -> None:
    """The volume counts for its new type once the site shows it; without a migration that is soon."""
    for pause in (1.0, 3.0, 10.0, 30.0, 120.0):
        await asyncio.sleep(pause)
        reply = await core.south.call(entry.site, "volume", "GET", f"/volumes/{entry.id}", version="3.60")
        if reply.ok and (shown := reply.json()["volume"])["status"] != "retyping":
            await core.store.ledger.change(entry.id, block_amounts("volume", shown), {})
            return


async def _extend(core: Core, req: Request, volume: str, project: str, size: int, site: str) -> Response:
    old = await core.store.ledger.held(volume)
    if size > old.get("gigabytes", 0):
        try:
            await core.store.ledger.change(
                volume, {**old, "volumes": 1, "gigabytes": size}, await core.limits.of("volume", project)
            )
        except OverQuota as e:
            raise over_quota(e) from e
    reply = await site_reply(core, req, site)
    if not reply.ok:
        await core.store.ledger.change(volume, old, {})
    return await from_site(core, req, site, reply)


async def _named(core: Core, req: Request, what: dict[str, Any]) -> dict[str, str] | None:
    """id -> site of every zonal thing named; None if one is unknown to this caller."""
    named = {}
    for field, kind in _SOURCES.items():
        ident = what.get(field)
        if isinstance(ident, str) and ident:
            entry = await locate(core, req, kind, ident)
            if entry is None:
                return None
            named[ident] = entry.site
    return named


async def _per_type(
    core: Core, req: Request, volume: dict[str, Any], named: dict[str, str], amounts: dict[str, int]
) -> dict[str, int]:
    """The amounts with those Cinder counts per volume type. Which type is only asked where a limit speaks of one."""
    limits = await core.limits.of("volume", req.caller.project_id or "")
    if not any(k.startswith(tuple(f"{resource}_" for resource in PER_TYPE)) for k in limits):
        return amounts
    wanted = volume.get("volume_type")
    source = volume.get("source_volid")
    if not wanted and isinstance(source, str) and source in named:
        reply = await core.south.call(named[source], "volume", "GET", f"/volumes/{source}", as_=req.caller, version="3.0")
        name = reply.json()["volume"].get("volume_type") if reply.ok else None
    elif isinstance(wanted, str) and wanted and not translate.tokens_text(wanted):
        name = wanted
    else:
        path = f"/types/{wanted}" if isinstance(wanted, str) and wanted else "/types/default"
        reply = await core.south.call("hub", "volume", "GET", path, as_=req.caller, version="3.0")
        name = reply.json()["volume_type"]["name"] if reply.ok else None
    return amounts | ({f"{k}_{name}": v for k, v in amounts.items() if k in PER_TYPE} if name else {})


async def _size(core: Core, req: Request, volume: dict[str, Any], named: dict[str, str]) -> int:
    """Gigabytes this will count as: as asked, else its source's."""
    size = volume.get("size")
    if isinstance(size, int | str) and not isinstance(size, bool):
        try:
            return max(int(size), 0)
        except ValueError:
            return 0
    for field, path, key in (("source_volid", "/volumes", "volume"), ("snapshot_id", "/snapshots", "snapshot")):
        ident = volume.get(field)
        if isinstance(ident, str) and ident in named:
            reply = await core.south.call(named[ident], "volume", "GET", f"{path}/{ident}", as_=req.caller, version="3.0")
            if reply.ok:
                return int(reply.json()[key]["size"])
    return 0


def over_quota(e: OverQuota) -> Fault:
    """Cinder's words and status (413, VolumeSizeExceedsAvailableQuota and kin)."""
    if e.resource.startswith("gigabytes"):
        text = (f"Requested volume or snapshot exceeds allowed {e.resource} quota. Requested {e.requested}G, "
                f"quota is {e.limit}G and {e.used}G has been consumed.")  # fmt: skip
    elif e.resource.startswith("volumes"):
        text = f"VolumeLimitExceeded: Maximum number of volumes allowed ({e.limit}) exceeded for quota '{e.resource}'."
    elif e.resource.startswith("snapshots"):
        text = f"SnapshotLimitExceeded: Maximum number of snapshots allowed ({e.limit}) exceeded"
    else:
        text = f"Maximum number of {e.resource} allowed ({e.limit}) exceeded"
    return Fault(413, text, kind="overLimit", headers={"Retry-After": "0"})
